// The singly scribe: 2,000 decisions to one partition, 2,000 jobs to several, batch.num.messages=1.
use rdkafka::mocking::*; use rdkafka::producer::*; use rdkafka::*; use std::time::*; use std::sync::atomic::*;
struct C(AtomicUsize);
impl ClientContext for C{}
impl ProducerContext for C{ type DeliveryOpaque=(); fn delivery(&self,_:&rdkafka::producer::DeliveryResult<'_>,_:()){ self.0.fetch_add(1,Ordering::SeqCst);} }
fn main(){ for rtt in [0u64,3,5,10] { for n in [200usize,2000] {
 let mc=MockCluster::new(1).unwrap(); mc.create_topic("jobs",6,1).unwrap(); mc.create_topic("dec",1,1).unwrap();
 let mut c=ClientConfig::new();
 c.set("bootstrap.servers",mc.bootstrap_servers()).set("transactional.id","x").set("transaction.timeout.ms","5000").set("socket.timeout.ms","4900").set("delivery.timeout.ms","4500").set("request.timeout.ms","4500").set("linger.ms","0").set("batch.num.messages","1").set("enable.idempotence","true");
 let p:BaseProducer<C>=c.create_with_context(C(AtomicUsize::new(0))).unwrap();
 p.init_transactions(Duration::from_secs(10)).unwrap();
 if rtt>0 {mc.broker_round_trip_time(1,Duration::from_millis(rtt)).unwrap();}
 let s=Instant::now(); p.begin_transaction().unwrap();
 'o: for t in ["dec","jobs"] { p.context().0.store(0,Ordering::SeqCst);
  for i in 0..n { p.send(BaseRecord::<str,[u8]>::to(t).partition(if t=="dec"{0}else{(i%6) as i32}).payload(&[1u8;1000])).map_err(|e|e.0).unwrap(); }
  while p.context().0.load(Ordering::SeqCst)<n { if s.elapsed()>Duration::from_secs(5){println!("rtt {rtt} n {n}: time over in {t}, {} acknowledged",p.context().0.load(Ordering::SeqCst));break 'o} p.poll(Duration::from_millis(1)); }
  println!("rtt {rtt} n {n}: {t} after {:?}",s.elapsed()); }
}}}
