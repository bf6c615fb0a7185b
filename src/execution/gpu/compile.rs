//! Pipelines: compiles a kernel with its spec for a device.

#[cfg(not(target_arch = "wasm32"))]
use super::context::Progress;
use super::context::{Gpu, ShaderChecks};
#[cfg(not(target_arch = "wasm32"))]
use super::pipeline_cache::PipelineCache;
use super::shader::specialise;
#[cfg(not(target_arch = "wasm32"))]
use crate::data::error::Result;
#[cfg(not(target_arch = "wasm32"))]
use crate::data::record::Recording;
use crate::data::record::{Access, Kernel, Spec};
use std::collections::HashMap;
#[cfg(not(target_arch = "wasm32"))]
use std::sync::OnceLock;
use std::sync::{Arc, Mutex};

/// Key of a pipeline: the kernel's entry point, source and edited pieces, and the spec.
type Key = (&'static str, &'static str, &'static [(&'static str, &'static str)], Spec);

fn key(kernel: &'static Kernel, spec: &Spec) -> Key {
    (kernel.entry, kernel.wgsl, kernel.edited, spec.clone())
}

/// Pipelines of a device.
#[derive(Debug, Default)]
struct Pipelines {
    compiled: Mutex<HashMap<Key, wgpu::ComputePipeline>>,
    #[cfg(not(target_arch = "wasm32"))]
    kept: OnceLock<Option<Arc<PipelineCache>>>,
}

impl Gpu {
    fn pipelines(&self) -> Arc<Pipelines> {
        self.parts.get(Pipelines::default)
    }

    /// Returns the pipeline cache that persists between runs, if there is one.
    #[cfg(not(target_arch = "wasm32"))]
    fn kept_pipelines(&self) -> Option<Arc<PipelineCache>> {
        self.pipelines().kept.get_or_init(|| PipelineCache::open(self, self.pipelines_folder.as_ref()?).map(Arc::new)).clone()
    }

    /// Writes the compiled pipelines to the persistent cache. A browser has one of its own.
    pub(super) fn keep_pipelines(&self) {
        #[cfg(not(target_arch = "wasm32"))]
        if let Some(kept) = self.kept_pipelines() {
            kept.save();
        }
    }

    /// Returns wgpu's handle of the pipeline cache.
    pub(super) fn pipeline_cache(&self) -> Option<wgpu::PipelineCache> {
        #[cfg(not(target_arch = "wasm32"))]
        return self.kept_pipelines().map(|kept| kept.cache().clone());
        #[cfg(target_arch = "wasm32")]
        None
    }

    /// Returns the pipeline of a kernel with a spec, compiled on first use.
    pub(super) fn pipeline(&self, kernel: &'static Kernel, spec: &Spec) -> wgpu::ComputePipeline {
        let all = self.pipelines();
        let mut pipelines = all.compiled.lock().expect("no panic while it is held");
        pipelines
            .entry(key(kernel, spec))
            .or_insert_with(|| self.compile(kernel, specialise(kernel, spec).expect("it was edited by nobody, or compiled before")))
            .clone()
    }

    /// Compiles the pipelines of some recordings on all cores. Errors of the device are reported when the pipeline is used.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn compile_ahead(&self, recordings: &[Recording]) {
        let dispatches = recordings.iter().flat_map(Recording::dispatches);
        if let Err(error) = self.compile_all(dispatches.map(|dispatch| (dispatch.kernel, &dispatch.spec)), &|_, _| ()) {
            log::debug!("{error}");
        }
    }

    /// Compiles the pipelines in `all` that are not compiled yet, on all cores. `progress` receives the number done and the total.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) if the device rejects a shader, [`Error::Argument`](crate::Error::Argument) if an edited shader lacks
    /// something that the spec replaces.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn compile_all<'a>(&self, all: impl Iterator<Item = (&'static Kernel, &'a Spec)>, progress: Progress<'_>) -> Result<()> {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let mut missing: Vec<(&'static Kernel, &Spec)> = Vec::new();
        let mut known: std::collections::HashSet<_> = self.pipelines().compiled.lock().expect("no panic while it is held").keys().cloned().collect();
        missing.extend(all.filter(|(kernel, spec)| known.insert(key(kernel, spec))));
        let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = || -> Result<()> {
            while let Some(&(kernel, spec)) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                // Error scopes are per thread.
                let source = specialise(kernel, spec)?;
                let pipeline = pollster::block_on(self.checked("compiling", || self.compile(kernel, source)))?;
                self.pipelines().compiled.lock().expect("no panic while it is held").insert(key(kernel, spec), pipeline);
                progress(done.fetch_add(1, Ordering::Relaxed) + 1, missing.len());
            }
            Ok(())
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(missing.len());
        std::thread::scope(|scope| {
            // This thread is one of them. Threads that the system refuses are done without.
            let spawned: Vec<_> = (1..threads).map_while(|_| std::thread::Builder::new().spawn_scoped(scope, work).ok()).collect();
            let own = work();
            spawned.into_iter().map(|worker| worker.join().expect("compiling does not panic")).fold(own, Result::and)
        })?;
        if !missing.is_empty() {
            self.keep_pipelines();
        }
        Ok(())
    }

    fn compile(&self, kernel: &Kernel, source: String) -> wgpu::ComputePipeline {
        let entry = |binding, ty| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
            count: None,
        };
        let mut entries = vec![entry(0, wgpu::BufferBindingType::Uniform)];
        entries.extend(kernel.bindings.iter().map(|binding| {
            let read_only = binding.access == Access::Read;
            entry(binding.index, wgpu::BufferBindingType::Storage { read_only })
        }));
        let bindings = self.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(kernel.name), entries: &entries });
        let layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(kernel.name),
            bind_group_layouts: &[Some(&bindings)],
            ..Default::default()
        });
        let module = wgpu::ShaderModuleDescriptor { label: Some(kernel.name), source: wgpu::ShaderSource::Wgsl(source.into()) };
        let module = match self.checks {
            ShaderChecks::On => self.device.create_shader_module(module),
            // SAFETY: indices, loop bounds and divisors of our kernels derive from sizes that the recording has checked; see ShaderChecks::Off for
            // how that is tested. Whoever edits a kernel is responsible for the edited one.
            ShaderChecks::Off => unsafe { self.device.create_shader_module_trusted(module, wgpu::ShaderRuntimeChecks::unchecked()) },
        };
        self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(kernel.name),
            layout: Some(&layout),
            module: &module,
            entry_point: Some(kernel.entry),
            // Every kernel writes its workgroup memory before reading it.
            compilation_options: wgpu::PipelineCompilationOptions { zero_initialize_workgroup_memory: false, ..Default::default() },
            cache: self.pipeline_cache().as_ref(),
        })
    }
}
