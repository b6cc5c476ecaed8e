//! A server that computes for clients on its processor: `cargo run -p burn-lazy-remote --example server -- 3000`. Then
//! run the example `client` on another machine. See `docs/remote.md`.

use burn::{
    backend::Flex,
    server::{CustomOpRegistry, RemoteServer, TokenAuthorizer, WebSocketTransport},
    tensor::Device,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::args()
        .nth(1)
        .map_or(Ok(3000), |port| port.parse())?;
    let mut registry = CustomOpRegistry::<Flex>::new();
    burn_lazy::register_lazy_ops(&mut registry);
    let mut server = RemoteServer::new([Device::flex()]).with_custom_ops::<Flex>(registry);
    if let Ok(token) = std::env::var("LAZY_TOKEN") {
        server = server.with_authorizer(TokenAuthorizer::new(token)?);
    }
    println!("serving one Flex device on port {port}");
    server.serve(WebSocketTransport::new(port))?;
    Ok(())
}
