import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.kafka.annotation.EnableKafka;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.kafka.config.ConcurrentKafkaListenerContainerFactory;
import org.springframework.kafka.core.ConsumerFactory;
import org.springframework.kafka.core.DefaultKafkaConsumerFactory;
import org.springframework.kafka.listener.CommonErrorHandler;
import org.springframework.kafka.listener.MessageListenerContainer;
import org.springframework.kafka.support.KafkaHeaders;
import org.springframework.messaging.handler.annotation.Header;
import org.springframework.messaging.handler.annotation.Payload;
import tools.jackson.databind.json.JsonMapper;

/**
 * Reads dead letters as a service with Spring Kafka does, and prints a line of JSON for each: what Spring makes of
 * the headers that it has names for. {@code KAFKA_BROKERS}, {@code DLQ_TOPIC} and {@code LETTERS} (how many) say
 * what to read. A letter that Spring can't hand over ends it with 1. tests/it/spring.rs runs it.
 */
public class SpringReader {
    public static void main(String[] arguments) throws Exception {
        try (var context = new AnnotationConfigApplicationContext(Settings.class, DeadLetters.class)) {
            if (!context.getBean(DeadLetters.class).left.await(60, TimeUnit.SECONDS)) {
                System.err.println("there were fewer letters than LETTERS says");
                System.exit(1);
            }
        }
    }

    static class DeadLetters {
        final CountDownLatch left = new CountDownLatch(Integer.parseInt(System.getenv("LETTERS")));

        @KafkaListener(topics = "${DLQ_TOPIC}", groupId = "${DLQ_TOPIC}-spring")
        void failed(
                @Payload String letter,
                @Header(KafkaHeaders.DLT_ORIGINAL_TOPIC) String topic,
                @Header(KafkaHeaders.DLT_ORIGINAL_PARTITION) int partition,
                @Header(KafkaHeaders.DLT_ORIGINAL_OFFSET) long offset,
                @Header(KafkaHeaders.DLT_ORIGINAL_TIMESTAMP) long timestamp,
                @Header(KafkaHeaders.DLT_ORIGINAL_CONSUMER_GROUP) String group,
                @Header(KafkaHeaders.DLT_EXCEPTION_FQCN) String exception, // mailroom.<cause>
                @Header(KafkaHeaders.DLT_EXCEPTION_MESSAGE) String reason) {
            print(letter, topic, partition, offset, timestamp, group, exception, reason);
            left.countDown();
        }
    }

    private static void print(
            String letter,
            String topic,
            int partition,
            long offset,
            long timestamp,
            String group,
            String exception,
            String reason) {
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("topic", topic);
        line.put("partition", partition);
        line.put("offset", offset);
        line.put("timestamp", timestamp);
        line.put("group", group);
        line.put("exception", exception);
        line.put("reason", reason);
        line.put("letter", letter);
        // As bytes: they are UTF-8 under any locale.
        System.out.writeBytes(JsonMapper.shared().writeValueAsBytes(line));
        System.out.println();
    }

    @EnableKafka
    static class Settings {
        @Bean
        static ConsumerFactory<String, String> consumerFactory() {
            Map<String, Object> properties = new HashMap<>();
            properties.put(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, System.getenv("KAFKA_BROKERS"));
            properties.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
            return new DefaultKafkaConsumerFactory<>(properties, new StringDeserializer(), new StringDeserializer());
        }

        @Bean
        static ConcurrentKafkaListenerContainerFactory<String, String> kafkaListenerContainerFactory(
                ConsumerFactory<String, String> consumers) {
            var factory = new ConcurrentKafkaListenerContainerFactory<String, String>();
            factory.setConsumerFactory(consumers);
            factory.setCommonErrorHandler(new EndsAtOnce());
            return factory;
        }
    }

    /** Spring's own would try the letter again, and then go on without it. */
    static class EndsAtOnce implements CommonErrorHandler {
        @Override
        public boolean handleOne(
                Exception error,
                ConsumerRecord<?, ?> letter,
                Consumer<?, ?> consumer,
                MessageListenerContainer container) {
            error.printStackTrace();
            Runtime.getRuntime().halt(1);
            return true;
        }
    }
}
