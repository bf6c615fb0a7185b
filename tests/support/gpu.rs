//! The GPU of the tests: any adapter, software too. Without one, tests say that they are skipped,
//! unless `VITRAUX_REQUIRE_GPU=1` makes that a failure.

use std::sync::{Arc, OnceLock};
use vitraux::low_level::capabilities::{Capabilities, Trust};
use vitraux::low_level::gpu::{Gpu, PipelineFolder, ShaderChecks, adapters};
use vitraux::{Device, DeviceChoice};

/// The shared device, or nothing where tests of the GPU are to be skipped.
pub fn device() -> Option<Arc<Gpu>> {
    static GPU: OnceLock<Option<Arc<Gpu>>> = OnceLock::new();
    let gpu = GPU.get_or_init(|| match Device::open_blocking(DeviceChoice::Gpu) {
        Ok(device) => {
            println!("GPU of the tests: {device}");
            device.gpu().cloned()
        }
        Err(error) if required() => panic!("VITRAUX_REQUIRE_GPU=1, but {error}"),
        Err(error) => {
            println!("no GPU ({error})");
            None
        }
    });
    if gpu.is_none() {
        println!("SKIPPED on the GPU: there is no adapter; VITRAUX_REQUIRE_GPU=1 makes this a failure");
    }
    gpu.clone()
}

/// A device of its own, with limits that a smaller GPU could have.
pub fn smaller(shrink: impl FnOnce(&mut Capabilities)) -> Option<Arc<Gpu>> {
    opened_again(shrink, ShaderChecks::Off)
}

/// A device of its own that is given the kernels for hardware, those too that wait there to be measured.
pub fn like_hardware() -> Option<Arc<Gpu>> {
    smaller(|capabilities| (capabilities.software, capabilities.trust) = (false, Trust::Subgroups))
}

/// A device of its own that checks what shaders do while they run.
pub fn checked() -> Option<Arc<Gpu>> {
    opened_again(|_| (), ShaderChecks::On)
}

fn opened_again(shrink: impl FnOnce(&mut Capabilities), checks: ShaderChecks) -> Option<Arc<Gpu>> {
    let index = device()?.summary().index;
    let (mut summary, adapter) = pollster::block_on(adapters()).swap_remove(index);
    shrink(&mut summary.capabilities);
    let opened = pollster::block_on(Gpu::open(summary, &adapter, checks, &PipelineFolder::OfUser));
    Some(Arc::new(opened.expect("the adapter opens again")))
}

fn required() -> bool {
    std::env::var("VITRAUX_REQUIRE_GPU").is_ok_and(|value| value == "1")
}

/// The devices that a test of the whole model runs on.
pub fn devices() -> Vec<Device> {
    std::iter::once(Device::cpu()).chain(device().map(Device::from)).collect()
}
