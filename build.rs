//! Names conditions on several features: whether Burn has a backend on CubeCL (as Burn's own build script does), one
//! whose tensors are on the host, or any that runs reductions.

/// A name, and the features of which one is enough.
type Condition = (&'static str, Vec<bool>);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let cube = vec![
        cfg!(feature = "cpu"),
        cfg!(feature = "cuda"),
        cfg!(feature = "metal"),
        cfg!(feature = "rocm"),
        cfg!(feature = "vulkan"),
        cfg!(feature = "webgpu"),
        cfg!(feature = "wgpu"),
    ];
    let host = vec![
        cfg!(feature = "flex"),
        cfg!(feature = "ndarray"),
        cfg!(feature = "tch"),
    ];
    let remote = vec![cfg!(feature = "remote")];
    let any = [cube.clone(), host.clone(), remote].concat();
    let conditions: [Condition; 3] = [
        ("cube_backend", cube),
        ("host_backend", host),
        ("any_backend", any),
    ];
    for (name, features) in conditions {
        println!("cargo::rustc-check-cfg=cfg({name})");
        if features.contains(&true) {
            println!("cargo::rustc-cfg={name}");
        }
    }
}
