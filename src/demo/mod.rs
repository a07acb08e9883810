//! placeholder until the demo is merged
pub struct DemoOptions {
    pub rate: u32,
    pub seconds: Option<u64>,
    pub http_bind: std::net::SocketAddr,
}
pub fn run(_: DemoOptions) -> u8 {
    1
}
