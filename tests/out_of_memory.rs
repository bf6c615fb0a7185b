//! Recovery when the device runs out of memory. The test runs in a child process, because it limits the address space, in which a software adapter
//! allocates the device's memory, and because some drivers do not survive that (Mesa 26's llvmpipe).

use crate::support::gpu;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use vitraux::{Checkpoint, Device, Error, Model, Session, Tensor};

/// Set for the child process.
const CHILD: &str = "VITRAUX_OUT_OF_MEMORY";

/// Signal of a driver that uses memory it did not get.
const SEGMENTATION_FAULT: i32 = 11;

/// Bytes that remain available: fewer than the buffers of 8 images need, more than those of 4 and the driver.
const AVAILABLE: u64 = 160 << 20;

/// Shape of a batch whose buffers take 222 MB.
const BATCH: [usize; 4] = [8, 1, 384, 384];

/// Bytes of address space that the process uses.
fn used() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("/proc is mounted");
    let pages: u64 = statm.split(' ').next().and_then(|pages| pages.parse().ok()).expect("a number of pages");
    pages * rustix::param::page_size() as u64
}

/// Calls `work` while only `bytes` are left.
fn limited<T>(bytes: u64, work: impl FnOnce() -> T) -> T {
    let before = getrlimit(Resource::As);
    setrlimit(Resource::As, Rlimit { current: Some(used() + bytes), ..before }).expect("a lower limit");
    let result = work();
    setrlimit(Resource::As, before).expect("the limit before");
    result
}

/// Returns the images of a pass and its bytes, once the session is ready to run one.
fn pass(session: &mut Session, shape: [usize; 4]) -> (usize, u64) {
    session.warm_up_blocking(&shape, &["logits"], |_, _| ()).expect("memory for a pass");
    let memory = session.memory().expect("a plan");
    println!("a pass of {} images, {} bytes", memory.images, memory.pass);
    (memory.images, memory.pass)
}

#[test]
fn sessions_evict_plans_and_halve_batches_when_memory_runs_out() {
    in_child("sessions_evict_plans_and_halve_batches_when_memory_runs_out", run_out_of_memory);
}

/// Whichever allocation of the device fails first, it is an error or a smaller pass, and the next call with enough memory succeeds.
#[test]
fn any_failed_allocation_leaves_a_working_session() {
    in_child("any_failed_allocation_leaves_a_working_session", fail_everywhere);
}

/// Calls `run` in a child process.
fn in_child(test: &str, run: impl FnOnce()) {
    if std::env::var_os(CHILD).is_some() {
        return run();
    }
    let program = std::env::current_exe().expect("the path of this program");
    let name = &format!("out_of_memory::{test}");
    // Large blocks go back to the system at once, and so count towards the limit when they are allocated again.
    let output = Command::new(program)
        .envs([(CHILD, "1"), ("MALLOC_MMAP_THRESHOLD_", "65536")])
        .args(["--exact", name, "--nocapture"])
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}{}", String::from_utf8_lossy(&output.stderr));
    match output.status.signal() {
        Some(SEGMENTATION_FAULT) => println!("SKIPPED: the driver crashes without memory"),
        // None at all would succeed too.
        _ => assert!(output.status.success() && said.contains("1 passed"), "{}", output.status),
    }
}

fn fail_everywhere() {
    let Some(gpu) = gpu::device() else { return };
    let device = Device::from(gpu);
    let load = || Model::builder(Checkpoint::digits()).device(device.clone()).load_blocking();
    let model = load().expect("a model");
    let image = Tensor::zeros([1, 1, 32, 32]);
    let logits = |session: &mut Session| session.forward_blocking(&image, &["logits"]).expect("logits")["logits"].values().into_owned();
    let expected = logits(&mut model.session());
    // An image takes more than the blocks that wgpu keeps when they are free.
    let batch = [4, 1, 768, 768];
    let image_bytes = pass(&mut model.session(), [1, 1, 768, 768]).1;
    let mut outcomes = [0; 2];
    // From too little for one image to enough for all. With less, the host's own allocations fail, which ends a process.
    for eighths in (1..=12).chain((16..=40).step_by(8)) {
        let available = image_bytes * eighths / 8;
        let mut session = model.session();
        let (warmed, loaded) = limited(available, || (session.warm_up_blocking(&batch, &["logits"], |_, _| ()), load()));
        for error in [warmed.as_ref().err(), loaded.as_ref().err()].into_iter().flatten() {
            assert!(matches!(error, Error::OutOfMemory { .. }), "{available} bytes: {error}");
        }
        outcomes[usize::from(warmed.is_ok())] += 1;
        assert_eq!(logits(&mut session), expected, "after {available} bytes");
    }
    println!("{} failures, {} passes", outcomes[0], outcomes[1]);
    assert!(outcomes.iter().all(|&count| count > 0), "{outcomes:?}");
}

fn run_out_of_memory() {
    let Some(gpu) = gpu::device() else { return };
    let model = Model::builder(Checkpoint::digits()).device(Device::from(gpu)).load_blocking().expect("a model");
    let image = Tensor::new([1, 1, 32, 32], (0..1024).map(|i| (i % 251) as f32 / 125.0 - 1.0).collect()).expect("as many values");
    let logits = |session: &mut Session| session.forward_blocking(&image, &["logits"]).expect("logits")["logits"].values().into_owned();
    let expected = logits(&mut model.session());
    // Compiles every pipeline, so that the limit leaves memory to buffers.
    pass(&mut model.session(), [1, 1, 384, 384]);
    limited(AVAILABLE, || {
        let mut session = model.session();
        assert_eq!(pass(&mut session, BATCH).0, 4, "half of the images fit");
        // Fits only in the place of the first plan.
        assert_eq!(pass(&mut session, [4, 1, 384, 380]).0, 4, "the other plan is evicted");
        assert_eq!(logits(&mut session), expected, "the session still works");
    });
    let (images, bytes) = pass(&mut model.session(), BATCH);
    assert!(images == 8 && bytes > AVAILABLE, "{images} images in {bytes} bytes, once memory is available again");
}
