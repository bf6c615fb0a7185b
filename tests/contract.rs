//! WGSL and Rust say the same: every shader is valid, is translated for every backend, and has the
//! bindings and parameters that its descriptor lists. Its text follows the house's rules.

use crate::support::path;
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, StorageAccess, TypeInner};
use vitraux::gpu::specialise;
use vitraux::kernels::ALL;
use vitraux::record::{Access, Binding, Field, Kernel, MAX_BINDINGS, Spec};

/// The specs that recordings make: each activation, and heads of each kind of tile.
fn specs(kernel: &Kernel) -> Vec<Spec> {
    match kernel.name {
        name if name.starts_with("matmul") => {
            let spec = |(epilogue, activation)| Spec(vec![("EPILOGUE", epilogue), ("ACTIVATION", activation)]);
            let epilogues = [0, 2, 3].map(|epilogue| (epilogue, 0)).into_iter().chain((0..=5).map(|activation| (1, activation))).map(spec);
            let tile = |rows, columns, k| Spec(vec![("ROWS", rows), ("COLUMNS", columns), ("TILE_K", k)]);
            let coop = |lanes| [1, 2].map(|down| Spec(vec![("LANES", lanes), ("DOWN", down)])).to_vec();
            let tiles = match name.strip_prefix("matmul").expect("it starts so") {
                "" | "_f16" => vec![tile(128, 128, 8), tile(128, 64, 16), tile(32, 32, 32)],
                "_coop8" | "_split_coop8" => coop(8),
                "_coop16" | "_split_coop16" => coop(32),
                _ => vec![Spec::default()],
            };
            if name.starts_with("matmul_split") { tiles } else { epilogues.chain(tiles).collect() }
        }
        "gate" => (0..=5).map(|number| Spec(vec![("ACTIVATION", number)])).collect(),
        "attention_pool" => [8, 64, 72, 130].map(|head| Spec(vec![("HEAD", head)])).to_vec(),
        "attention_subgroup" => [8, 32, 64, 72, 100, 128].map(|head| Spec(vec![("HEAD", head)])).to_vec(),
        "attention_coop8" | "attention_coop16" => {
            let side = kernel.needs.cooperative;
            let spec = |(head, subgroups, keys)| Spec(vec![("HEAD", head), ("LANES", 2 * side), ("SUBGROUPS", subgroups), ("KEYS", keys)]);
            [(16, 2, 2 * side), (64, 2, 2 * side), (128, 1, side)].map(spec).to_vec()
        }
        "attention" | "attention_masked" => {
            [(8, 32), (64, 32), (72, 16), (80, 16), (128, 16), (130, 8)].map(|(head, keys)| Spec(vec![("HEAD", head), ("KEYS", keys)])).to_vec()
        }
        _ => vec![Spec::default()],
    }
}

/// Each kernel under each spec.
fn specialised() -> impl Iterator<Item = (&'static Kernel, Spec)> {
    ALL.iter().flat_map(|kernel| specs(kernel).into_iter().map(move |spec| (*kernel, spec)))
}

fn parsed(kernel: &Kernel, spec: &Spec) -> (naga::Module, ModuleInfo) {
    let source = specialise(kernel.wgsl, spec).unwrap_or_else(|error| panic!("{}: {error}", kernel.name));
    let module = naga::front::wgsl::parse_str(&source).unwrap_or_else(|error| panic!("{}: {}", kernel.name, error.emit_to_string(&source)));
    let info = Validator::new(ValidationFlags::all(), needed(kernel)).validate(&module);
    let info = info.unwrap_or_else(|error| panic!("{}: {error:?}", kernel.name));
    (module, info)
}

/// What a device that meets the kernel's needs allows; all of wgpu's but those on OpenGL unpack f16.
fn needed(kernel: &Kernel) -> Capabilities {
    let subgroups = if kernel.needs.subgroup == 0 { Capabilities::empty() } else { Capabilities::SUBGROUP };
    let cooperative = Capabilities::COOPERATIVE_MATRIX | Capabilities::SHADER_FLOAT16 | Capabilities::SUBGROUP;
    let cooperative = if kernel.needs.cooperative == 0 { Capabilities::empty() } else { cooperative };
    Capabilities::SHADER_FLOAT16_IN_FLOAT32 | subgroups | cooperative
}

fn entry(kernel: &Kernel, module: &naga::Module) -> usize {
    let found = module.entry_points.iter().position(|entry| entry.name == kernel.name);
    found.unwrap_or_else(|| panic!("no entry point {}", kernel.name))
}

#[test]
fn bindings_and_parameters_are_those_of_the_descriptors() {
    for (kernel, spec) in specialised() {
        let (module, info) = parsed(kernel, &spec);
        let used = info.get_entry_point(entry(kernel, &module));
        let mut found = Vec::new();
        for (handle, variable) in module.global_variables.iter() {
            let Some(place) = &variable.binding else { continue };
            if used[handle].is_empty() {
                continue;
            }
            assert_eq!(place.group, 0, "{}", kernel.name);
            match variable.space {
                AddressSpace::Uniform => assert_eq!((place.binding, params(&module, variable.ty)), (0, kernel.params.to_vec()), "{}", kernel.name),
                AddressSpace::Storage { access } => {
                    let access = if access.contains(StorageAccess::STORE) { Access::Write } else { Access::Read };
                    found.push((place.binding, variable.name.clone().expect("a binding has a name"), access));
                }
                ref other => panic!("{}: a binding in {other:?}", kernel.name),
            }
        }
        found.sort_by_key(|(index, ..)| *index);
        let described: Vec<_> = kernel.bindings.iter().map(|&Binding { index, name, access }| (index, name.to_owned(), access)).collect();
        assert_eq!(found, described, "{}", kernel.name);
        assert_eq!(kernel.bindings.iter().filter(|binding| binding.access == Access::Write).count(), 1, "{} writes one buffer", kernel.name);
        assert!(kernel.bindings.len() <= MAX_BINDINGS, "{}", kernel.name);
    }
}

/// The fields of a struct of 4-byte values without gaps.
fn params(module: &naga::Module, ty: naga::Handle<naga::Type>) -> Vec<Field> {
    let TypeInner::Struct { members, .. } = &module.types[ty].inner else { panic!("parameters are a struct") };
    let field = |(i, member): (usize, &naga::StructMember)| {
        assert_eq!(member.offset as usize, 4 * i, "{:?}", member.name);
        let kind = match module.types[member.ty].inner {
            TypeInner::Scalar(naga::Scalar::U32) => "u32",
            TypeInner::Scalar(naga::Scalar::F32) => "f32",
            ref other => panic!("a parameter of type {other:?}"),
        };
        Field { name: member.name.clone().expect("a field has a name").leak(), kind }
    };
    members.iter().enumerate().map(field).collect()
}

#[test]
fn every_kernel_is_translated_for_every_backend() {
    use naga::back::{hlsl, msl, spv};
    for (kernel, spec) in specialised() {
        let (module, info) = parsed(kernel, &spec);
        let entry_point = (naga::ShaderStage::Compute, kernel.name.to_owned());
        let spv_options = spv::PipelineOptions { shader_stage: entry_point.0, entry_point: entry_point.1.clone() };
        let words = spv::write_vec(&module, &info, &spv::Options::default(), Some(&spv_options));
        assert!(!words.unwrap_or_else(|error| panic!("{}: SPIR-V: {error}", kernel.name)).is_empty());

        if kernel.needs.cooperative > 0 {
            continue; // chosen on Vulkan only
        }

        let options = msl::Options { fake_missing_bindings: true, lang_version: (2, 4), ..Default::default() };
        let pipeline = msl::PipelineOptions { entry_point: Some(entry_point.clone()), ..Default::default() };
        let (text, _) = msl::write_string(&module, &info, &options, &pipeline).unwrap_or_else(|error| panic!("{}: MSL: {error}", kernel.name));
        assert!(text.contains("kernel void"), "{}", kernel.name);

        let mut text = String::new();
        let pipeline = hlsl::PipelineOptions { entry_point: Some(entry_point) };
        let options = hlsl::Options { shader_model: hlsl::ShaderModel::V6_0, ..Default::default() };
        hlsl::Writer::new(&mut text, &options, &pipeline)
            .write(&module, &info, None)
            .unwrap_or_else(|error| panic!("{}: HLSL: {error}", kernel.name));
        assert!(text.contains("numthreads"), "{}", kernel.name);
    }
}

/// Workgroup memory within 16 KiB and at most 256 invocations: what every WebGPU device has; those with cooperative matrices 32 KiB.
#[test]
fn workgroups_are_small_enough_for_every_device() {
    for (kernel, spec) in specialised() {
        let (module, info) = parsed(kernel, &spec);
        let index = entry(kernel, &module);
        let invocations: u32 = module.entry_points[index].workgroup_size.iter().product();
        assert!(invocations <= 256, "{}: {invocations} invocations", kernel.name);
        let layouter = {
            let mut layouter = naga::proc::Layouter::default();
            layouter.update(module.to_ctx()).expect("a valid module has layouts");
            layouter
        };
        let used = info.get_entry_point(index);
        let shared =
            module.global_variables.iter().filter(|(handle, variable)| variable.space == AddressSpace::WorkGroup && !used[*handle].is_empty());
        let bytes: u32 = shared.map(|(_, variable)| layouter[variable.ty].size).sum();
        let most = if kernel.needs.cooperative == 0 { 16 * 1024 } else { 32 * 1024 };
        assert!(bytes <= most, "{}: {bytes} bytes of workgroup memory", kernel.name);
    }
}

/// The passes over textures are no kernels of recordings, but as portable.
#[test]
fn the_passes_over_textures_are_translated_for_every_backend() {
    use naga::back::{hlsl, msl, spv};
    let read = |name: &str| std::fs::read_to_string(path("shaders/texture").join(name)).expect("a shader");
    for name in ["across", "down"] {
        let source = read("sampling.wgsl") + &read(&format!("{name}.wgsl"));
        let module = naga::front::wgsl::parse_str(&source).unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(&source)));
        let info = Validator::new(ValidationFlags::all(), Capabilities::empty()).validate(&module).expect("it is valid");
        assert!(!spv::write_vec(&module, &info, &spv::Options::default(), None).expect("SPIR-V").is_empty());
        let options = msl::Options { fake_missing_bindings: true, lang_version: (2, 4), ..Default::default() };
        assert!(msl::write_string(&module, &info, &options, &msl::PipelineOptions::default()).expect("MSL").0.contains("kernel void"));
        let mut text = String::new();
        let options = hlsl::Options { shader_model: hlsl::ShaderModel::V6_0, ..Default::default() };
        hlsl::Writer::new(&mut text, &options, &hlsl::PipelineOptions::default()).write(&module, &info, None).expect("HLSL");
        assert!(text.contains("numthreads"));
    }
}

fn shaders(folder: &str) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(path(folder)).expect("the folder is there");
    let files = entries.map(|entry| entry.expect("an entry").path()).filter(|file| file.extension().is_some_and(|ending| ending == "wgsl"));
    files.map(|file| (file.display().to_string(), std::fs::read_to_string(&file).expect("text"))).collect()
}

#[test]
fn every_shader_belongs_to_a_kernel() {
    for (file, text) in shaders("shaders") {
        let owners: Vec<_> = ALL.iter().filter(|kernel| kernel.wgsl == text).collect();
        assert!(!owners.is_empty(), "{file} belongs to no kernel in ALL");
        let entries = text.matches("@compute").count();
        assert_eq!(owners.len(), entries, "{file} has {entries} entry points, ALL has {}", owners.len());
    }
}

/// Every loop counts by a step of at least one up to a bound, or halves: nobody bounds them while shaders run.
#[test]
fn every_loop_ends() {
    for (file, text) in shaders("shaders").into_iter().chain(shaders("shaders/common")).chain(shaders("shaders/texture")) {
        let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
        assert!(!words.into_iter().any(|word| ["while", "loop"].contains(&word)), "{file}: a loop that is not counted");
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let Some((_, head)) = line.split_once("for (var ") else { continue };
            let (name, rest) = head.split_once(" = ").expect("a start");
            let parts: Vec<&str> = rest.split("; ").collect();
            let [_, condition, step] = parts[..] else { panic!("{file}: {line}") };
            let step = step.trim_end_matches(") {");
            let counts = condition.starts_with(&format!("{name} < ")) && (step == format!("{name}++") || step.starts_with(&format!("{name} += ")));
            let halves = condition == format!("{name} > 0u") && step == format!("{name} /= 2u");
            assert!(counts || halves, "{file}: {line}");
            let changes = |other: &&str| {
                let other = other.trim_start();
                ["=", "+=", "-=", "*=", "/="].iter().any(|sign| other.starts_with(&format!("{name} {sign} ")))
                    || other.starts_with(&format!("{name}++"))
            };
            assert_eq!(text.lines().find(changes), None, "{file}: a loop's counter is changed elsewhere");
        }
    }
}

#[test]
fn shaders_say_what_they_do() {
    let kernels = shaders("shaders");
    for (file, text) in kernels.iter().chain(&shaders("shaders/common")) {
        assert!(text.starts_with("// "), "{file} begins with what it is for");
        for line in text.lines() {
            if line.contains("workgroupBarrier()") {
                assert!(line.contains("; // "), "{file}: a barrier without the hazard that it closes");
            }
            if line.contains("@group(0) @binding(") && !line.contains("var<uniform>") {
                assert!(line.contains("; // ["), "{file}: a binding without its shape: {line}");
            }
        }
    }
    for (file, text) in kernels {
        let header: Vec<_> = text.lines().take_while(|line| line.starts_with("// ")).collect();
        assert_eq!(header.len(), 3, "{file}: formula; mapping and numbers; grid, needs, twin");
        let twin = header[2].split("Twin: ").nth(1).unwrap_or_else(|| panic!("{file} names no twin"));
        assert!(path("src").join(twin).exists(), "{file}: no {twin}");
    }
}
