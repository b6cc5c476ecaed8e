//! A server within this process, for the tests and the examples.

use std::net::TcpListener;

use burn::{
    backend::{Flex, ir::BackendIr},
    remote::RemoteHost,
    server::{
        CustomOpRegistry, RemoteServer, WebSocketTransport,
        telemetry::{TelemetryProbe, TelemetrySubscription},
    },
    tensor::Device,
};
use tokio::runtime::{Builder, Runtime};

/// A server of two devices on a free port, which is released when the server is dropped.
pub struct Server {
    runtime: Option<Runtime>,
    host: RemoteHost,
    /// The telemetry events of its sessions.
    pub events: TelemetrySubscription,
}

impl Server {
    /// A server of two Flex devices that runs the reductions of symbolic matrices.
    pub fn start() -> Self {
        let mut registry = CustomOpRegistry::<Flex>::new();
        burn_lazy::register_lazy_ops(&mut registry);
        Self::with(registry)
    }

    /// A server that runs them on the CPU runtime of CubeCL instead of Flex.
    #[cfg(feature = "cpu")]
    pub fn on_cpu_runtime() -> Self {
        let mut registry = CustomOpRegistry::<burn::backend::Cube>::new();
        burn_lazy::register_lazy_ops(&mut registry);
        Self::serving([Device::cpu(), Device::cpu()], registry)
    }

    /// A server of two Flex devices that runs the operations of `registry` in addition to those of Burn.
    pub fn with(registry: CustomOpRegistry<Flex>) -> Self {
        Self::serving([Device::flex(), Device::flex()], registry)
    }

    fn serving<B: BackendIr>(devices: [Device; 2], registry: CustomOpRegistry<B>) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_io()
            .build()
            .expect("threads can be started");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let (probe, events) = TelemetryProbe::channel(1 << 16);
        let serving = RemoteServer::new(devices)
            .with_custom_ops::<B>(registry)
            .with_telemetry(probe)
            .serve_async(WebSocketTransport::from_listener(listener));
        runtime.spawn(serving);
        Self {
            runtime: Some(runtime),
            host: RemoteHost::websocket(&format!("ws://{address}")),
            events,
        }
    }

    /// A device of the server, as a client uses it. Each device has its own session.
    pub fn device(&self, index: usize) -> Device {
        let options = Device::remote_options(&self.host).device_index(index);
        options.init().expect("the server hosts two devices")
    }
}

impl Drop for Server {
    /// Ends all sessions.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
