//! Memory of repeated work. A binary of its own, because it counts every allocation.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicIsize, Ordering::Relaxed};
use vitraux::{Checkpoint, Device, DeviceChoice, Model, Session, Tensor};

struct Counting;

/// Bytes allocated and not yet freed, and the most there were.
static LIVE: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);

// SAFETY: all work is the system allocator's; the counters only watch.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size() as isize, Relaxed) + layout.size() as isize;
        PEAK.fetch_max(live, Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as isize, Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `gemm` packs its factors into during a product and frees again: panels within the caches.
const PACKING_BYTES: isize = 1024 * 1024;

/// Tests count by turns.
static TURN: Mutex<()> = Mutex::new(());

/// Twenty sessions at a time hold the weights once, beside what each needs for itself.
#[test]
fn concurrent_sessions_share_one_copy_of_weights() {
    let _turn = TURN.lock().expect("no panic");
    let before = LIVE.load(Relaxed);
    let checkpoint = Checkpoint::random("vit_small_patch16_224").expect("a known architecture");
    let model = Model::builder(checkpoint).device(Device::cpu()).load_blocking().expect("a model");
    let weights = LIVE.load(Relaxed) - before;
    assert!(weights > 80 * 1024 * 1024, "{weights} bytes");
    let input = Tensor::zeros([1, 3, 224, 224]);
    let mut first = model.session();
    first.forward_blocking(&input, &["logits"]).expect("logits");
    let own = LIVE.load(Relaxed) - before - weights;
    PEAK.store(LIVE.load(Relaxed), Relaxed);
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| model.session().forward_blocking(&input, &["logits"]).expect("logits"));
        }
    });
    let peak = PEAK.load(Relaxed) - before;
    println!("weights {weights}, a session {own}, at the most {peak}");
    assert!(peak < weights + 21 * (own + PACKING_BYTES), "{peak} bytes beside {weights} of weights and {own} of a session");
    assert!(20 * own < 4 * weights, "a session's {own} bytes are small beside {weights} of weights");
}

#[test]
fn repeated_forward_allocates_only_its_outputs() {
    let _turn = TURN.lock().expect("no panic");
    let checkpoint = Checkpoint::random("vit_tiny_patch16_224").expect("a known architecture");
    let mut session = Model::builder(checkpoint).device(Device::cpu()).load_blocking().expect("a model").session();
    let wanted = ["logits", "tokens"];
    let pixel_values = Tensor::zeros([2, 3, 224, 224]);
    for _ in 0..2 {
        session.forward_blocking(&pixel_values, &wanted).expect("outputs");
    }
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let outputs = session.forward_blocking(&pixel_values, &wanted).expect("outputs");
    let (kept, peak) = (LIVE.load(Relaxed) - before, PEAK.load(Relaxed) - before);
    let output_bytes: usize = outputs.values().map(|tensor| tensor.len() * 4).sum();
    // Names, shapes and the map around the values.
    let around = 4096;
    println!("kept {kept}, at the most {peak}, outputs {output_bytes}");
    assert!(kept <= output_bytes as isize + around, "{kept} bytes kept beside outputs of {output_bytes}");
    assert!(peak <= output_bytes as isize + around + PACKING_BYTES, "{peak} bytes at the most beside outputs of {output_bytes}");
    drop(outputs);
    assert!(LIVE.load(Relaxed) - before <= around, "memory grows");
}

/// Forwards and loads of a model. `VITRAUX_ENDURANCE` multiplies them: `.ci/soak` sets it.
const ROUNDS: [usize; 2] = [200, 10];

/// Bytes by which the process may grow meanwhile, beside what the first fifth has allocated: the allocator keeps pages.
const GROWTH: u64 = 8 * 1024 * 1024;

#[test]
fn memory_stays_flat_on_the_cpu() {
    stays_flat(Device::cpu());
}

#[test]
fn memory_stays_flat_on_the_gpu() {
    match Device::open_blocking(DeviceChoice::Gpu) {
        Ok(device) => stays_flat(device),
        Err(error) if std::env::var("VITRAUX_REQUIRE_GPU").is_ok_and(|value| value == "1") => panic!("VITRAUX_REQUIRE_GPU=1, but {error}"),
        Err(error) => println!("SKIPPED on the GPU: {error}; VITRAUX_REQUIRE_GPU=1 makes this a failure"),
    }
}

fn stays_flat(device: Device) {
    let _turn = TURN.lock().expect("no panic");
    let times = std::env::var("VITRAUX_ENDURANCE").map_or(1, |times| times.parse().expect("a number"));
    let load = || Model::builder(Checkpoint::digits()).device(device.clone()).load_blocking().expect("a model");
    let inputs = [1, 3, 2].map(|batch| Tensor::zeros([batch, 1, 32, 32]));
    let forward = |session: &mut Session, round: usize| {
        let outputs = session.forward_blocking(&inputs[round % inputs.len()], &["logits", "tokens"]).expect("outputs");
        assert!(outputs["logits"].values().iter().all(|value| value.is_finite()));
    };
    let mut session = load().session();
    grows_little("forwards", ROUNDS[0] * times, |round| forward(&mut session, round));
    grows_little("loads", ROUNDS[1] * times, |round| forward(&mut load().session(), round));
}

/// Calls `work` so many times. Checks that the process does not grow after the first fifth of them. The allocator may take pages once more, for a thread
/// that had none; what leaks grows each time.
fn grows_little(what: &str, rounds: usize, mut work: impl FnMut(usize)) {
    let first = rounds.div_ceil(5);
    (0..first).for_each(&mut work);
    let mut stays_resident = || {
        let (live, resident) = (LIVE.load(Relaxed), resident_bytes());
        (first..rounds).for_each(&mut work);
        let grown = LIVE.load(Relaxed) - live;
        println!("{what}: {rounds}, {grown} bytes more on the heap, {resident:?} bytes resident, then {:?}", resident_bytes());
        assert!(grown < 64 * 1024, "{grown} bytes more after {rounds} {what}");
        resident.zip(resident_bytes()).is_none_or(|(before, after)| after < before + GROWTH)
    };
    assert!((0..3).any(|_| stays_resident()), "the process grows by more than {GROWTH} bytes in {rounds} {what}, three times");
}

/// Returns the physical memory of this process, where the system tells.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kibibytes| kibibytes << 10)
}
