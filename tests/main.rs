//! All tests of the library and the program in one binary; `tests/run` calls it with a GPU required.

mod attention;
mod bad;
mod bench;
mod checkpoints;
mod cli;
mod contract;
mod digits;
mod doctor;
mod embed;
mod embedding;
mod families;
mod fit;
mod golden;
mod kernels;
mod limits;
mod maps;
mod mutants;
mod npz;
mod painting;
mod pictures;
mod preprocessing;
mod real_size;
mod similar;
mod structure;
mod support;
mod tuning;
