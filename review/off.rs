use rdkafka::mocking::*; use rdkafka::producer::*; use rdkafka::*; use std::time::*;
use std::sync::atomic::*;
struct C(AtomicUsize);
impl ClientContext for C{}
impl ProducerContext for C{ type DeliveryOpaque=();
 fn delivery(&self,_:&rdkafka::producer::DeliveryResult<'_>,_:()){ self.0.fetch_add(1,Ordering::SeqCst);} }
fn main(){
 let mc=MockCluster::new(1).unwrap();
 mc.create_topic("jobs",2,1).unwrap();
 let rtt:u64=std::env::args().nth(1).unwrap().parse().unwrap();
 let mut c=ClientConfig::new();
 c.set("bootstrap.servers",mc.bootstrap_servers()).set("linger.ms","2").set("batch.size","65536").set("enable.idempotence","true").set("socket.nagle.disable","true");
 let p:BaseProducer<C>=c.create_with_context(C(AtomicUsize::new(0))).unwrap();
 p.send(BaseRecord::<str,[u8]>::to("jobs").partition(0).payload(&[1u8;10])).map_err(|e|e.0).unwrap(); p.flush(Duration::from_secs(5)).unwrap();
 if rtt>0 { mc.broker_round_trip_time(1,Duration::from_millis(rtt)).unwrap(); }
 let s=Instant::now(); let mut n=0; let mut jobs=0;
 'o: loop { for part in 0..2 { p.context().0.store(0,Ordering::SeqCst);
   p.send(BaseRecord::<str,[u8]>::to("jobs").partition(part).payload(&[1u8;1000])).map_err(|e|e.0).unwrap();
   while p.context().0.load(Ordering::SeqCst)<1 { if s.elapsed()>=Duration::from_secs(5){ println!("time over while waiting for the {}",["job","decision"][part as usize]); break 'o;} p.poll(Duration::from_millis(1)); }
   if part==0 {jobs+=1} }
  n+=1; }
 println!("rtt {rtt}: {n} letters in 5 s, jobs acknowledged {jobs}");
}
