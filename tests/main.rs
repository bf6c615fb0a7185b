//! All tests of the library and the program in one binary; `tests/run` calls it with a GPU required.

mod adapters;
mod attention;
mod bad;
mod bench;
mod checkpoints;
mod cli;
mod contract;
mod dense;
mod digits;
mod doctor;
mod embed;
mod embedding;
mod families;
#[cfg(target_os = "linux")]
mod faults;
mod fit;
mod formats;
mod golden;
mod images;
mod kernels;
mod limits;
mod maps;
mod messages;
mod misuse;
mod mutants;
mod npz;
#[cfg(target_os = "linux")]
mod out_of_memory;
mod outputs;
mod painting;
mod preprocessing;
mod real_size;
mod recovery;
#[cfg(target_os = "linux")]
mod serve;
#[cfg(target_os = "linux")]
mod serve_limits;
mod sessions;
mod shards;
mod similar;
mod structure;
mod support;
#[cfg(target_os = "linux")]
mod system_errors;
mod texts;
mod tokens;
mod torch;
mod trained;
mod tuning;
