//! Kernel regression on the device of a server: `cargo run -p burn-lazy-remote --example client -- ws://server:3000`.
//! Without an address it starts a server in its own process.

use std::time::Instant;

use burn::{
    remote::RemoteHost,
    tensor::{Device, Tensor, TensorData},
};
use burn_lazy::{LazyTensor, solve::SolveOptions};
use burn_lazy_remote::Server;

const POINTS: usize = 500;

/// The sum of the squared weights of a kernel regression, and its gradient by the points.
fn regression(device: &Device) -> Result<(f32, Vec<f32>), Box<dyn std::error::Error>> {
    let device = device.clone().autodiff();
    let x: Vec<f32> = (0..POINTS).map(|k| k as f32 / 50.0).collect();
    let y: Vec<f32> = x.iter().map(|x| x.sin()).collect();
    let column = |values| Tensor::<2>::from_data(TensorData::new(values, [POINTS, 1]), &device);
    let (x, y) = (column(x).require_grad(), column(y));
    let k = (-LazyTensor::vi(x.clone()).sqdist(LazyTensor::vj(x.clone()))).exp();
    let weights = k.solve(y, &SolveOptions::default().ridge(0.1))?.solution;
    let loss = weights.square().sum();
    let gradients = loss.backward();
    let gradient = x.grad(&gradients).ok_or("x is tracked")?;
    Ok((loss.into_scalar(), gradient.into_data().try_to_vec()?))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut own = None;
    let device = match std::env::args().nth(1) {
        Some(url) => {
            let mut host = RemoteHost::websocket(&url);
            if let Ok(token) = std::env::var("LAZY_TOKEN") {
                host = host.with_credential(token);
            }
            Device::remote_options(&host).init()?
        }
        None => own.insert(Server::start()).device(0),
    };
    for (name, device) in [("here", Device::flex()), ("on the server", device)] {
        let start = Instant::now();
        let (loss, gradient) = regression(&device)?;
        let time = start.elapsed().as_secs_f64() * 1e3;
        let largest = gradient.iter().fold(0f32, |all, own| all.max(own.abs()));
        println!("{name}: loss {loss:.5}, largest gradient {largest:.5}, {time:.0} ms");
    }
    Ok(())
}
