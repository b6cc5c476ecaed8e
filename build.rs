//! Names the condition under which Burn has a backend on CubeCL, as Burn's own build script does.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(cube_backend)");
    let runtimes = [
        cfg!(feature = "cpu"),
        cfg!(feature = "cuda"),
        cfg!(feature = "metal"),
        cfg!(feature = "rocm"),
        cfg!(feature = "vulkan"),
        cfg!(feature = "webgpu"),
        cfg!(feature = "wgpu"),
    ];
    if runtimes.contains(&true) {
        println!("cargo::rustc-cfg=cube_backend");
    }
}
