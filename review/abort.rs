use rdkafka::mocking::*; use rdkafka::producer::*; use rdkafka::*; use std::time::*;
use rdkafka::types::*;
use std::sync::atomic::*;
struct C(AtomicUsize,AtomicUsize);
impl ClientContext for C{}
impl ProducerContext for C{ type DeliveryOpaque=();
 fn delivery(&self,r:&rdkafka::producer::DeliveryResult<'_>,_:()){ if r.is_err(){self.1.fetch_add(1,Ordering::SeqCst);} self.0.fetch_add(1,Ordering::SeqCst);} }
fn main(){
 let mc=MockCluster::new(2).unwrap();
 mc.create_topic("jobs",2,1).unwrap();
 mc.partition_leader("jobs",0,Some(1)).unwrap(); mc.partition_leader("jobs",1,Some(2)).unwrap();
 let slow:u64=std::env::args().nth(1).unwrap().parse().unwrap();
 let mode=std::env::args().nth(2).unwrap_or_default();
 let mut c=ClientConfig::new();
 c.set("bootstrap.servers",mc.bootstrap_servers()).set("transactional.id","x").set("transaction.timeout.ms","5000").set("socket.timeout.ms","4900").set("delivery.timeout.ms","4500").set("request.timeout.ms","4500").set("linger.ms","2").set("batch.size","65536").set("enable.idempotence","true").set("client.id","z");
 let p:BaseProducer<C>=c.create_with_context(C(AtomicUsize::new(0),AtomicUsize::new(0))).unwrap();
 p.init_transactions(Duration::from_secs(10)).unwrap();
 // warm connections
 p.begin_transaction().unwrap();
 for i in 0..4 { p.send(BaseRecord::<str,[u8]>::to("jobs").partition(i%2).payload(&[1u8;10])).map_err(|e|e.0).unwrap(); }
 p.flush(Duration::from_secs(5)).unwrap(); p.commit_transaction(Duration::from_secs(5)).unwrap();
 p.context().0.store(0,Ordering::SeqCst);
 mc.broker_round_trip_time(2,Duration::from_millis(slow)).unwrap();
 p.begin_transaction().unwrap();
 mc.request_errors(RDKafkaApiKey::Produce,&[rdkafka_sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]);
 let n=40;
 for i in 0..n { p.send(BaseRecord::<str,[u8]>::to("jobs").partition(i%2).payload(&vec![1u8;10000])).map_err(|e|e.0).unwrap(); }
 let s=Instant::now();
 while p.context().0.load(Ordering::SeqCst)<n as usize && p.context().1.load(Ordering::SeqCst)==0 { p.poll(Duration::from_millis(1)); }
 println!("failed after {:?}: reports {} errors {} still out {}",s.elapsed(),p.context().0.load(Ordering::SeqCst),p.context().1.load(Ordering::SeqCst),p.in_flight_count());
 let t=Instant::now();
 if mode=="p" {
   // mended: abort in slices, polling in between
   let mut k=0; loop { k+=1; match p.abort_transaction(Duration::from_millis(20)) { Ok(())=>{println!("aborted, try {k}, {:?}",t.elapsed());break}, Err(e)=>{ if t.elapsed()>Duration::from_secs(5){println!("{e:?}");break} p.poll(Duration::from_millis(5)); } } }
 } else {
   let r=p.abort_transaction(Duration::from_millis(4900));
   println!("abort took {:?}: {:?}",t.elapsed(),r);
 }
 let t=Instant::now(); drop(p); println!("drop took {:?}",t.elapsed());
}
