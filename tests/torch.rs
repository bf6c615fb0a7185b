//! Files of PyTorch: those that say the same in another way, and those that a stranger made to do harm.

use crate::support::cli::vitraux;
use crate::support::path;
use crate::support::torch::{Entry, Pickle, Tensor, container, legacy, zip};
use safetensors::SafeTensors;
use std::time::Duration;
use vitraux::Checkpoint;

/// Memory that the program may reach.
const LARGEST_MEMORY: u64 = 256 << 20;

/// A folder of the digits model with other weights.
fn folder(weights: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::copy(path("examples/digits/config.json"), folder.path().join("config.json")).expect("a copy");
    std::fs::write(folder.path().join("pytorch_model.bin"), weights).expect("it is written");
    folder
}

fn open(weights: &[u8]) -> vitraux::Result<Checkpoint> {
    Checkpoint::open(folder(weights).path())
}

/// Values of all weights, to the bit.
fn bits(checkpoint: &Checkpoint) -> Vec<u32> {
    let weights = checkpoint.numbered_weights();
    weights.iter().flat_map(|weight| weight.tensor.values().iter().map(|value| value.to_bits()).collect::<Vec<_>>()).collect()
}

/// Tensors and storages of the digits model, as `change` leaves them.
fn digits(change: impl Fn(&str, &mut Tensor, &mut Vec<u8>)) -> (Pickle, Vec<(String, Vec<u8>)>) {
    let bytes = std::fs::read(path("examples/digits/model.safetensors")).expect("weights");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let (mut tensors, mut storages) = (Vec::new(), Vec::new());
    for (i, (name, view)) in file.iter().enumerate() {
        let (mut tensor, mut data) = (Tensor::whole(&i.to_string(), view.shape()), view.data().to_vec());
        change(name, &mut tensor, &mut data);
        tensors.push((name, tensor));
        storages.push((i.to_string(), data));
    }
    (Pickle::new().state_dict(&tensors), storages)
}

fn borrowed(storages: &[(String, Vec<u8>)]) -> Vec<(&str, &[u8])> {
    storages.iter().map(|(key, bytes)| (key.as_str(), bytes.as_slice())).collect()
}

#[test]
fn both_containers_and_all_layouts_hold_the_same_weights() {
    let expected = bits(&Checkpoint::digits());
    let transposed = |_: &str, tensor: &mut Tensor, data: &mut Vec<u8>| {
        if let [rows, columns] = tensor.shape[..] {
            let column = |i: i64| (0..rows).flat_map(move |row| (row * columns + i) as usize * 4..(row * columns + i) as usize * 4 + 4);
            *data = (0..columns).flat_map(column).map(|place| data[place]).collect();
            tensor.strides = vec![1, rows];
        }
    };
    let behind_others = |_: &str, tensor: &mut Tensor, data: &mut Vec<u8>| {
        data.splice(0..0, [0xFF; 12]);
        (tensor.offset, tensor.len) = (3, tensor.len + 3);
    };
    for (pickle, storages) in [digits(|_, _, _| {}), digits(transposed), digits(behind_others)] {
        for file in [container(&pickle, &borrowed(&storages)), legacy(&pickle, &borrowed(&storages))] {
            let folder = folder(&file);
            for mapped_from in [0, u64::MAX] {
                let opened = Checkpoint::builder(folder.path()).mapped_from(mapped_from).open().expect("a checkpoint");
                assert!(bits(&opened) == expected);
            }
        }
    }
}

/// Weights of f32 in a dictionary that is not the saved value.
#[test]
fn weights_are_found_in_training_checkpoints() {
    let (pickle, storages) = digits(|_, _, _| {});
    let state_dict = &pickle.0[2..pickle.0.len() - 1];
    let options = Pickle::new()
        .text("epoch")
        .int(3)
        .text("args")
        .global("argparse", "Namespace")
        .then([b')', 0x81, b'}'])
        .text("lr")
        .then("G")
        .then([0; 8])
        .then("sb");
    let saved = Pickle::new().then("}(").then(&options.0[2..]).text("model").then(state_dict).then("u.");
    assert!(bits(&open(&container(&saved, &borrowed(&storages))).expect("a checkpoint")) == bits(&Checkpoint::digits()));
}

/// timm prefers moving averages. What would be taken without them has one tensor.
#[test]
fn averaged_weights_come_first_in_models_of_timm() {
    let (pickle, storages) = digits(|_, _, _| {});
    let averages = &pickle.0[2..pickle.0.len() - 1];
    let len = storages[0].1.len() / 4;
    let trained = Pickle::new().state_dict(&[("norm.weight", Tensor::whole("0", &[len]))]);
    let trained = &trained.0[2..trained.0.len() - 1];
    for (key, averaged) in [("state_dict", "state_dict_ema"), ("model", "model_ema")] {
        let saved = Pickle::new().then("}(").text(key).then(trained).text(averaged).then(averages).then("u.");
        assert!(bits(&open(&container(&saved, &borrowed(&storages))).expect("a checkpoint")) == bits(&Checkpoint::digits()));
        let without = Pickle::new().then("}(").text(key).then(averages).text(averaged).then("Nu.");
        assert!(bits(&open(&container(&without, &borrowed(&storages))).expect("a checkpoint")) == bits(&Checkpoint::digits()));
    }
}

fn one(change: impl Fn(&mut Tensor)) -> Vec<u8> {
    let mut tensor = Tensor::whole("0", &[2, 3]);
    change(&mut tensor);
    container(&Pickle::new().state_dict(&[("norm.weight", tensor)]), &[("0", &[0; 24])])
}

fn pickled(pickle: Pickle) -> Vec<u8> {
    container(&pickle, &[("0", &[0; 24])])
}

/// Files that must not be run, by what the error says of them.
fn hostile() -> Vec<(&'static str, Vec<u8>)> {
    let new = Pickle::new;
    let tensor = Tensor::whole("0", &[2, 3]);
    let whole = new().state_dict(&[("norm.weight", tensor.clone())]);
    let called = |pickle: Pickle| pickled(pickle.then("(").text("touch /tmp/vitraux").then("tR."));
    let mut files = vec![
        // Code.
        ("os.system", called(new().global("os", "system"))),
        ("posix.system", called(new().text("posix").text("system").then([0x93]))),
        ("builtins.eval", called(new().global("builtins", "eval"))),
        ("torch.load", called(new().global("torch", "load"))),
        ("torch._utils.os.system", called(new().global("torch._utils", "os.system"))),
        ("collections.OrderedDict.__reduce__", called(new().global("collections", "OrderedDict.__reduce__"))),
        ("a\\nb", pickled(new().text("a\nb").text("c").then([0x93, b'.']))),
        ("INST", pickled(new().then("(ios\nsystem\n."))),
        ("OBJ", pickled(new().then("(o."))),
        ("NEWOBJ", pickled(new().global("torch", "FloatStorage").then([b')', 0x81, b'.']))),
        ("NEWOBJ_EX", pickled(new().then([b')', b')', b'}', 0x92, b'.']))),
        ("EXT1", pickled(new().then([0x82, 1, b'.']))),
        ("PERSID", pickled(new().then("Pmodule\n."))),
        ("BINPERSID", pickled(new().text("module").then("Q."))),
        ("BUILD", pickled(new().tensor(&tensor).then("}b."))),
        ("BUILD", pickled(new().then("]}b."))),
        ("REDUCE", called(new().global("collections", "OrderedDict"))),
        ("REDUCE", called(new().global("torch", "FloatStorage"))),
        ("REDUCE", called(new().text("os.system"))),
        ("REDUCE", called(new().then("}"))),
        ("REDUCE", pickled(new().global("torch._utils", "_rebuild_parameter").then(b"}\x85R."))),
        ("STRING", pickled(new().then("S'a'\n."))),
        ("POP", pickled(new().then("N0."))),
        ("NEXT_BUFFER", pickled(new().then([0x97, b'.']))),
        ("0xff", pickled(new().then([0xFF, b'.']))),
        // Machines that stumble.
        ("protocol", pickled(Pickle(vec![0x80, 1, b'N', b'.']))),
        ("protocol", pickled(Pickle(vec![0x80, 255, b'N', b'.']))),
        ("more bytes", pickled(Pickle(vec![]))),
        ("more bytes", pickled(new())),
        ("more bytes", pickled(new().then([0x95, 255]))),
        ("at the end", pickled(new().then("."))),
        ("at the end", pickled(new().then("NN."))),
        ("at the end", pickled(new().then("(N."))),
        ("stack", pickled(new().then(b"N(\x85."))),
        ("stack", pickled(new().then("R."))),
        ("mark", pickled(new().then("t."))),
        ("key", pickled(new().then("}(Nu."))),
        ("dictionary", pickled(new().then("](NNu."))),
        ("list", pickled(new().then("}(Ne."))),
        ("nothing is stored", pickled(new().then("h\x07."))),
        ("UTF-8", pickled(new().then(b"X\x02\0\0\0\xFF\xFE."))),
        // Claims.
        ("more bytes", pickled(new().then("X").then((100u32 << 20).to_le_bytes()).then("a."))),
        ("more bytes", pickled(new().then([0x8D]).then((1u64 << 63).to_le_bytes()).then("."))),
        ("more bytes", pickled(new().then([0x8B]).then((-1i32).to_le_bytes()).then("."))),
        ("operations", pickled(new().then(vec![b'('; 1 << 21]))),
        ("operations", pickled(new().then(b"](".repeat(1 << 20)))),
        ("larger than", pickled(new().then("X").then((17u32 << 20).to_le_bytes()).then(vec![b' '; 17 << 20]).then("."))),
        ("larger than", zip(&[Entry::deflated("data.pkl", &vec![b'('; 300 << 20])])),
        // Tensors.
        ("exceeds", one(|tensor| tensor.offset = 1)),
        ("exceeds", one(|tensor| tensor.offset = i64::MAX)),
        ("whole numbers", one(|tensor| tensor.offset = -1)),
        ("exceeds", one(|tensor| tensor.shape = vec![3, 3])),
        ("exceeds", one(|tensor| tensor.shape = vec![1 << 32, 1 << 32])),
        ("exceeds", one(|tensor| tensor.shape = vec![i64::MAX, 3])),
        ("exceeds", one(|tensor| (tensor.shape, tensor.strides) = (vec![1 << 40], vec![0]))),
        ("exceeds", one(|tensor| tensor.strides = vec![i64::MAX, 1])),
        ("exceeds", one(|tensor| tensor.strides = vec![i64::MAX / 4, i64::MAX / 4])),
        ("whole numbers", one(|tensor| tensor.shape = vec![-2, -3])),
        ("whole numbers", one(|tensor| tensor.strides = vec![-3, 1])),
        ("stride for each", one(|tensor| tensor.strides = vec![1])),
        ("at most 8", one(|tensor| (tensor.shape, tensor.strides) = (vec![1; 100_000], vec![1; 100_000]))),
        ("bytes", one(|tensor| tensor.len = 7)),
        ("bytes", one(|tensor| tensor.len = 1 << 40)),
        ("cannot be", one(|tensor| tensor.len = i64::MAX)),
        ("cannot be", one(|tensor| tensor.len = -6)),
        ("bytes", one(|tensor| tensor.class = "DoubleStorage")),
        ("torch.ComplexFloatStorage", one(|tensor| tensor.class = "ComplexFloatStorage")),
        ("missing", one(|tensor| tensor.key = "1".to_owned())),
        ("missing", one(|tensor| tensor.key = "../data.pkl".to_owned())),
        ("two of this name", pickled(new().state_dict(&[("a", tensor.clone()), ("a", tensor.clone())]))),
        ("disagree", pickled(new().state_dict(&[("a", tensor.clone()), ("b", Tensor { class: "IntStorage", ..tensor.clone() })]))),
        ("as text", pickled(new().then("}").int(1).tensor(&tensor).then("s."))),
        ("other arguments", pickled(new().then("}").text("a").global("torch._utils", "_rebuild_tensor_v2").then(")Rs."))),
        ("dictionary of tensors", pickled(new().then("}."))),
        ("dictionary of tensors", pickled(new().tensor(&tensor).then("."))),
        ("dictionary of tensors", pickled(new().then("]q\0h\0a."))),
        ("dictionary of tensors", pickled(new().then("}q\0").text("state_dict").then("h\0s."))),
        // A tuple of two of the tuple before, thirty thousand times.
        ("dictionary of tensors", pickled(new().then(")").then(b"q\x01h\x01\x86".repeat(30_000)).then("."))),
        ("dictionary of tensors", pickled(new().then(vec![b']'; 200_000]).then(vec![b'a'; 199_999]).then("."))),
        ("dictionary of tensors", legacy(&new().then("(").then(vec![b']'; 500_000]).then("t."), &[])),
        // Archives.
        ("duplicate file names", zip(&[Entry::new("data.pkl", &whole.0), Entry::new("data.pkl", &whole.0), Entry::new("data/0", &[0; 24])])),
        ("sound", {
            let entries = [Entry::new("data.pkl", &whole.0), Entry::new("data/0", &[0; 24])];
            let place = Some(zip(&entries[..1]).windows(4).position(|bytes| bytes == b"PK\x01\x02").expect("a directory") as u32);
            zip(&[entries.as_slice(), &[Entry { place, ..Entry::new("data/1", &[0; 24]) }]].concat())
        }),
        ("overlapping entries", zip(&[Entry::new("data.pkl", &whole.0), Entry { size: u32::MAX - 9, ..Entry::new("data/0", &[0; 24]) }])),
        ("overlapping entries", zip(&[Entry { size: 1 << 30, ..Entry::new("data.pkl", &whole.0) }, Entry::new("data/0", &[0; 24])])),
        ("compressed", zip(&[Entry::new("data.pkl", &whole.0), Entry::deflated("data/0", &[0; 24])])),
        ("without data.pkl", zip(&[Entry::new("data/0", &[0; 24])])),
        ("byteorder", zip(&[Entry::new("data.pkl", &whole.0), Entry::new("byteorder", b"big"), Entry::new("data/0", &[0; 24])])),
        ("zip", b"PK\x03\x04".to_vec()),
        ("zip", [b"PK\x03\x04".as_slice(), b"PK\x05\x06", &[0xFF; 18]].concat()),
        // The older container.
        ("torch.save", b"\x80\x02N.".to_vec()),
        ("torch.save", b"weights".to_vec()),
        ("no tensor says", legacy(&whole, &[("0", &[0; 24]), ("1", &[0; 24])])),
        ("missing", legacy(&whole, &[])),
        ("count", legacy(&whole, &[("0", &[0; 20])])),
        ("listed twice", legacy(&whole, &[("0", &[0; 24]), ("0", &[0; 24])])),
        ("more bytes", [legacy(&whole, &[("0", &[0; 24])]), vec![0]].concat()),
        ("os.system", legacy(&new().global("os", "system").then("."), &[])),
    ];
    let little = legacy(&whole, &[("0", &[0; 24])]);
    let place = little.windows(13).position(|bytes| bytes == b"little_endian").expect("it says so") + 13;
    files.push(("little-endian", [&little[..place], &[0x89], &little[place + 1..]].concat()));
    files
}

#[test]
fn hostile_files_are_refused_in_a_line() {
    for (i, (word, weights)) in hostile().into_iter().enumerate() {
        let folder = folder(&weights);
        let run = vitraux(["inspect".as_ref(), "--model".as_ref(), folder.path().as_os_str()]);
        assert!(run.code == 1 && run.stderr.lines().count() == 1, "{i}, {word}: {}", run.stderr);
        assert!(run.errors()[0].contains(word), "{i}: {:?} does not mention {word}", run.errors()[0]);
        assert!(run.stderr.len() < 600, "{i}, {word}: {}", run.stderr);
        assert!(run.elapsed < Duration::from_secs(5), "{i}, {word} took {:?}", run.elapsed);
        assert!(run.peak_memory.is_none_or(|bytes| bytes < LARGEST_MEMORY), "{i}, {word} took {:?} bytes", run.peak_memory);
    }
    assert!(!std::path::Path::new("/tmp/vitraux").exists());
}

#[test]
fn files_cut_anywhere_are_refused() {
    let pickle = Pickle::new().state_dict(&[("norm.weight", Tensor::whole("0", &[2, 3]))]);
    for file in [container(&pickle, &[("0", &[0; 24])]), legacy(&pickle, &[("0", &[0; 24])])] {
        let error = open(&file).expect_err("it lacks the other weights").to_string();
        assert!(!error.contains("pytorch_model.bin"), "{error}");
        for len in 0..file.len() {
            let error = open(&file[..len]).expect_err("it is cut");
            assert!(error.to_string().contains("pytorch_model.bin"), "{len} of {} bytes: {error}", file.len());
        }
    }
}

/// Tensors may share numbers, as tied weights do, but not turn a small file into gigabytes.
#[test]
fn numbers_are_not_shared_by_many_tensors() {
    let len = 1 << 20;
    let storage = vec![0; 4 * len];
    let of = |count: usize| {
        let names: Vec<String> = (0..count).map(|i| format!("norm.{i}")).collect();
        let tensors: Vec<(&str, Tensor)> = names.iter().map(|name| (name.as_str(), Tensor::whole("0", &[len]))).collect();
        open(&container(&Pickle::new().state_dict(&tensors), &[("0", &storage)])).expect_err("no model").to_string()
    };
    // 16 MiB, and 4 times the file.
    assert!(!of(7).contains("share") && of(9).contains("share many times"), "{} {}", of(7), of(9));
}
