//! WGSL and Rust say the same: every shader is valid, is translated for every backend, and has the
//! bindings and parameters that its descriptor lists. Its text follows the house's rules.

use crate::support::{cases, path};
use naga::valid::{Capabilities as ShaderCapabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, StorageAccess, TypeInner};
use std::collections::HashSet;
use std::sync::OnceLock;
use vitraux::low_level::capabilities::Capabilities;
use vitraux::low_level::gpu::{PIECES, specialise};
use vitraux::low_level::kernels::{ALL, workgroup_bytes};
use vitraux::low_level::record::{Access, Binding, Field, Kernel, MAX_BINDINGS, Spec};

/// Each kernel under each spec that the cases record it with, on devices where a processor does a GPU's work and on others.
fn specialised() -> impl Iterator<Item = (&'static Kernel, Spec)> {
    static FOUND: OnceLock<Vec<(&'static Kernel, Spec)>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let (mut known, mut found) = (HashSet::new(), Vec::new());
        for case in cases::all() {
            for software in [true, false].into_iter().filter(|software| *software || !case.needs().software) {
                let recording = case.recording(Capabilities { software, large_shaders: !software, ..case.able() }).expect("it fits");
                let of_kernels = recording.dispatches().filter(|dispatch| ALL.iter().any(|kernel| kernel.name == dispatch.kernel.name));
                for dispatch in of_kernels {
                    if known.insert((dispatch.kernel.name, dispatch.spec.clone())) {
                        found.push((dispatch.kernel, dispatch.spec.clone()));
                    }
                }
            }
        }
        found
    });
    found.iter().cloned()
}

fn parsed(kernel: &Kernel, spec: &Spec) -> (naga::Module, ModuleInfo) {
    let source = specialise(kernel, spec).unwrap_or_else(|error| panic!("{}: {error}", kernel.name));
    let module = naga::front::wgsl::parse_str(&source).unwrap_or_else(|error| panic!("{}: {}", kernel.name, error.emit_to_string(&source)));
    let info = Validator::new(ValidationFlags::all(), needed(kernel, &source)).validate(&module);
    let info = info.unwrap_or_else(|error| panic!("{}: {error:?}", kernel.name));
    (module, info)
}

/// What a device that meets the kernel's needs allows; all of wgpu's but those on OpenGL unpack f16.
fn needed(kernel: &Kernel, source: &str) -> ShaderCapabilities {
    let of = |is_needed: bool, capabilities| if is_needed { capabilities } else { ShaderCapabilities::empty() };
    let is_cooperative = kernel.needs.cooperative > 0;
    ShaderCapabilities::SHADER_FLOAT16_IN_FLOAT32
        | of(kernel.needs.subgroup > 0 || kernel.needs.subgroups > 0, ShaderCapabilities::SUBGROUP)
        | of(is_cooperative, ShaderCapabilities::COOPERATIVE_MATRIX)
        // Of a spec's elements, if not of the kernel.
        | of(source.starts_with("enable f16;"), ShaderCapabilities::SHADER_FLOAT16)
}

fn entry(kernel: &Kernel, module: &naga::Module) -> usize {
    let found = module.entry_points.iter().position(|entry| entry.name == kernel.entry);
    found.unwrap_or_else(|| panic!("no entry point {}", kernel.entry))
}

#[test]
fn shader_bindings_and_params_match_kernel_descriptors() {
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
fn every_kernel_translates_to_every_supported_backend() {
    use naga::back::{hlsl, msl, spv};
    for (kernel, spec) in specialised() {
        let (module, info) = parsed(kernel, &spec);
        let entry_point = (naga::ShaderStage::Compute, kernel.entry.to_owned());
        let spv_options = spv::PipelineOptions { shader_stage: entry_point.0, entry_point: entry_point.1.clone() };
        let words = spv::write_vec(&module, &info, &spv::Options::default(), Some(&spv_options));
        assert!(!words.unwrap_or_else(|error| panic!("{}: SPIR-V: {error}", kernel.name)).is_empty());

        // Of cooperative matrices Metal has 8 x 8, and adds none; DirectX has none.
        let has_matrices = kernel.needs.cooperative > 0;
        if has_matrices && (kernel.needs.cooperative > 8 || !kernel.may_import("matmul/memory_vec4") || kernel.needs.vector_tiles) {
            continue;
        }
        let spec = if has_matrices { spec.with_scalar_tiles() } else { spec };
        let (module, info) = parsed(kernel, &spec);
        let options = msl::Options { fake_missing_bindings: true, lang_version: (2, 4), ..Default::default() };
        let pipeline = msl::PipelineOptions { entry_point: Some(entry_point.clone()), ..Default::default() };
        let (text, _) = msl::write_string(&module, &info, &options, &pipeline).unwrap_or_else(|error| panic!("{}: MSL: {error}", kernel.name));
        assert!(text.contains("kernel void"), "{}", kernel.name);
        if has_matrices {
            // A pointer to vectors would not be taken for one to halves.
            assert!(text.contains("NagaCooperativeLoad(const threadgroup half* ptr") && text.contains("simdgroup_float8x8"), "{}", kernel.name);
            assert!(!text.contains("half4 inner[") && !text.contains("type_half4 inner"), "{}", kernel.name);
            continue;
        }

        let mut text = String::new();
        let pipeline = hlsl::PipelineOptions { entry_point: Some(entry_point) };
        let options = hlsl::Options { shader_model: hlsl::ShaderModel::V6_2, ..Default::default() };
        hlsl::Writer::new(&mut text, &options, &pipeline)
            .write(&module, &info, None)
            .unwrap_or_else(|error| panic!("{}: HLSL: {error}", kernel.name));
        assert!(text.contains("numthreads"), "{}", kernel.name);
    }
}

/// Workgroup memory within 16 KiB and at most 256 invocations: what every WebGPU device has. Where more is needed the kernel says how much; and the
/// formula that variants are chosen by gives what the text declares.
#[test]
fn workgroups_fit_portable_or_declared_limits() {
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
        let sizes: Vec<u32> = shared.map(|(_, variable)| layouter[variable.ty].size).collect();
        let bytes: u32 = sizes.iter().sum();
        // Matrices are loaded from multiples of 16 bytes (VUID-RuntimeSpirv-OpCooperativeMatrixLoadKHR-08986); an H200's driver lays an array of 8 bytes in
        // front of the others, which then are loaded wrongly.
        let is_aligned = kernel.needs.cooperative == 0 || sizes.iter().all(|size| size.is_multiple_of(16));
        assert!(is_aligned, "{}: arrays of {sizes:?} bytes in workgroup memory", kernel.name);
        match workgroup_bytes(kernel, &spec) {
            Some(formula) => assert_eq!(bytes, formula, "{} {spec:?}", kernel.name),
            None => assert!(bytes <= 16 * 1024, "{}: {bytes} bytes of workgroup memory", kernel.name),
        }
        assert!(kernel.needs.cooperative > 0 || bytes <= 16 * 1024, "{}: {bytes} bytes of workgroup memory", kernel.name);
    }
}

/// The passes over textures are no kernels of recordings, but as portable.
#[test]
fn texture_passes_translate_to_every_backend() {
    use naga::back::{hlsl, msl, spv};
    let read = |name: &str| std::fs::read_to_string(path("shaders/texture").join(name)).expect("a shader");
    for name in ["across", "down"] {
        let source = read("sampling.wgsl") + &read(&format!("{name}.wgsl"));
        let module = naga::front::wgsl::parse_str(&source).unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(&source)));
        let info = Validator::new(ValidationFlags::all(), ShaderCapabilities::empty()).validate(&module).expect("it is valid");
        assert!(!spv::write_vec(&module, &info, &spv::Options::default(), None).expect("SPIR-V").is_empty());
        let options = msl::Options { fake_missing_bindings: true, lang_version: (2, 4), ..Default::default() };
        assert!(msl::write_string(&module, &info, &options, &msl::PipelineOptions::default()).expect("MSL").0.contains("kernel void"));
        let mut text = String::new();
        let options = hlsl::Options { shader_model: hlsl::ShaderModel::V6_0, ..Default::default() };
        hlsl::Writer::new(&mut text, &options, &hlsl::PipelineOptions::default()).write(&module, &info, None).expect("HLSL");
        assert!(text.contains("numthreads"));
    }
}

/// Every shader, by its path in `shaders/` without the ending.
fn shaders() -> Vec<(String, String)> {
    let root = path("shaders");
    let folders = std::fs::read_dir(&root).expect("a folder").map(|entry| entry.expect("an entry").path()).filter(|folder| folder.is_dir());
    let mut found = Vec::new();
    for folder in folders.chain([root.clone()]) {
        for file in std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path()).filter(|file| file.is_file()) {
            let name = file.strip_prefix(&root).expect("a file in it").with_extension("").display().to_string().replace('\\', "/");
            found.push((name, std::fs::read_to_string(&file).expect("text")));
        }
    }
    found
}

/// Passes over textures, and what is run once when a device is opened.
fn is_of_no_kernel(file: &str) -> bool {
    file.starts_with("texture/") || file == "probe"
}

#[test]
fn every_shader_belongs_to_a_kernel_or_is_a_piece() {
    for (file, text) in shaders().into_iter().filter(|(file, _)| !is_of_no_kernel(file)) {
        let entries: HashSet<&str> = ALL.iter().filter(|kernel| kernel.file == file).map(|kernel| kernel.entry).collect();
        let is_piece = PIECES.iter().any(|(name, _)| *name == file);
        assert_ne!(is_piece, !entries.is_empty(), "{file} belongs to no kernel in ALL and is no piece, or is both");
        assert_eq!(entries.len(), text.matches("@compute").count(), "{file}: {entries:?} are in ALL");
    }
    for (piece, _) in PIECES {
        assert!(ALL.iter().any(|kernel| kernel.may_import(piece)), "{piece} is imported by nobody");
    }
}

/// Every loop counts by a step of at least one up to a bound, or halves: nobody bounds them while shaders run.
#[test]
fn every_shader_loop_terminates() {
    for (file, text) in shaders() {
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
fn shaders_document_purpose_barriers_and_bindings() {
    for (file, text) in shaders().into_iter().filter(|(file, _)| !is_of_no_kernel(file)) {
        assert!(text.starts_with("// "), "{file} begins with what it is for");
        for line in text.lines() {
            if line.contains("workgroupBarrier()") {
                assert!(line.contains("; // "), "{file}: a barrier without the hazard that it closes");
            }
            if line.contains("@group(0) @binding(") && !line.contains("var<uniform>") {
                assert!(line.contains("; // ["), "{file}: a binding without its shape: {line}");
            }
        }
        if PIECES.iter().any(|(name, _)| *name == file) {
            continue;
        }
        let header: Vec<_> = text.lines().take_while(|line| line.starts_with("// ")).collect();
        assert_eq!(header.len(), 3, "{file}: formula; mapping and numbers; grid, needs, twin");
        let twin = header[2].split("Twin: ").nth(1).unwrap_or_else(|| panic!("{file} names no twin"));
        assert!(path("src/execution").join(twin).exists(), "{file}: no {twin}");
    }
}
