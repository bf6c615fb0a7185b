//! CUDA's numbers of GPUs. Cluster engines hand out GPUs by them, in `CUDA_VISIBLE_DEVICES`.

use crate::execution::gpu::AdapterSummary;

/// NVIDIA's PCI vendor ID.
const NVIDIA: u32 = 0x10de;

/// NVIDIA GPUs as CUDA numbers them.
#[derive(Debug, PartialEq, Eq)]
pub struct Cuda {
    /// [`AdapterSummary::index`] of each number.
    order: Vec<usize>,
    /// Whether GPUs that are not in the order are hidden.
    hides: bool,
}

impl Cuda {
    /// Numbers the adapters as `CUDA_VISIBLE_DEVICES` says, which is `variable`. Without it, CUDA starts with the fastest GPU; here they are in the order of the
    /// PCI bus, as with `CUDA_DEVICE_ORDER=PCI_BUS_ID`, which is the same where all GPUs are alike.
    pub fn new<'a>(adapters: impl IntoIterator<Item = &'a AdapterSummary>, variable: Option<&str>) -> Cuda {
        let mut gpus: Vec<&AdapterSummary> = adapters.into_iter().filter(|adapter| adapter.vendor == NVIDIA).collect();
        gpus.sort_by_key(|adapter| (adapter.pci_bus_id.clone(), adapter.index));
        // A GPU with several drivers is several adapters.
        gpus.dedup_by(|next, gpu| gpu.pci_bus_id.is_some() && gpu.pci_bus_id == next.pci_bus_id);
        let all: Vec<usize> = gpus.into_iter().map(|gpu| gpu.index).collect();
        let Some(text) = variable else { return Cuda { order: all, hides: false } };
        let entries = text.split(',').map(str::trim);
        if let Some(uuid) = entries.clone().find(|entry| entry.starts_with("GPU-") || entry.starts_with("MIG-")) {
            log::warn!("CUDA_VISIBLE_DEVICES names a GPU by its UUID, {uuid}, which is not known here; choose a device by its PCI bus ID");
            return Cuda { order: all, hides: false };
        }
        // As with CUDA, an entry that is no GPU ends the list.
        let order = entries.map_while(|entry| all.get(entry.parse::<usize>().ok()?).copied()).collect();
        Cuda { order, hides: true }
    }

    /// Returns whether the adapter has this number.
    pub fn is(&self, adapter: &AdapterSummary, number: usize) -> bool {
        self.order.get(number) == Some(&adapter.index)
    }

    /// Returns whether the adapter is for another process.
    pub fn hides(&self, adapter: &AdapterSummary) -> bool {
        self.hides && adapter.vendor == NVIDIA && !self.order.contains(&adapter.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::capabilities::Capabilities;
    use crate::execution::gpu::AdapterKind;

    /// Two NVIDIA GPUs, of which the first is later on the bus, a third without a known place, and a software adapter.
    fn adapters() -> Vec<AdapterSummary> {
        let buses = [Some("0000:ca:00.0"), Some("0000:17:00.0"), None, None];
        let adapter = |(index, bus): (usize, Option<&str>)| AdapterSummary {
            index,
            name: format!("adapter {index}"),
            backend: "Vulkan".to_owned(),
            kind: AdapterKind::Discrete,
            driver: String::new(),
            pci_bus_id: bus.map(str::to_owned),
            vendor: if index < 3 { NVIDIA } else { 0 },
            capabilities: Capabilities::CPU,
        };
        buses.into_iter().enumerate().map(adapter).collect()
    }

    fn numbered(variable: Option<&str>) -> (Vec<usize>, Vec<usize>) {
        let adapters = adapters();
        let cuda = Cuda::new(&adapters, variable);
        let number = |number: usize| adapters.iter().find(|adapter| cuda.is(adapter, number)).map(|adapter| adapter.index);
        let hidden = adapters.iter().filter(|adapter| cuda.hides(adapter)).map(|adapter| adapter.index);
        ((0..4).map_while(number).collect(), hidden.collect())
    }

    #[test]
    fn gpus_are_numbered_as_by_cuda() {
        assert_eq!(numbered(None), (vec![2, 1, 0], vec![]));
        assert_eq!(numbered(Some("0,1,2")), (vec![2, 1, 0], vec![]));
        assert_eq!(numbered(Some(" 2 , 1")), (vec![0, 1], vec![2]));
        assert_eq!(numbered(Some("1,7,0")), (vec![1], vec![0, 2]));
        assert_eq!(numbered(Some("")), (vec![], vec![0, 1, 2]));
        assert_eq!(numbered(Some("-1")), (vec![], vec![0, 1, 2]));
        assert_eq!(numbered(Some("GPU-8932f937")), (vec![2, 1, 0], vec![]));
    }

    #[test]
    fn a_gpu_with_two_drivers_has_one_number() {
        let mut adapters = adapters();
        adapters[2].pci_bus_id = adapters[0].pci_bus_id.clone();
        let cuda = Cuda::new(&adapters, None);
        assert!(cuda.is(&adapters[1], 0) && cuda.is(&adapters[0], 1) && !cuda.is(&adapters[2], 2));
    }
}
