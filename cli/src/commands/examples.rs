//! Examples for `--help`. A test checks that the program accepts each of them.

pub const VITRAUX: &str = "\
Examples:
  vitraux classify photo.jpg                             read a digit with the built-in model
  vitraux classify --model google/vit-base-patch16-224 photos/
  vitraux classify --model facebook/deit-tiny-patch16-224 --format csv --output answers.csv --resume photos/
  vitraux embed --model facebook/dinov2-small --l2 --output photos.parquet photos/
  vitraux similar --model facebook/dinov2-small --to cat.jpg --index photos.safetensors photos/
  vitraux attention --model facebook/dinov2-small --output maps/ photos/cat.jpg
  vitraux bench model --architecture vit_base_patch16_224 --device gpu
  vitraux doctor                                         check the GPU
  source <(vitraux completions bash)

Environment:
  VITRAUX_DEVICE  default for --device
  HF_HOME, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE  as in Hugging Face's libraries
  NO_COLOR        disable colours in messages";

pub const CLASSIFY: &str = "\
Examples:
  vitraux classify photo.jpg                             with the built-in digit model
  vitraux classify --model google/vit-base-patch16-224 --top 3 photos/ '*.png'
  vitraux classify --model facebook/deit-tiny-patch16-224 --format csv --output answers.csv --resume photos/
  vitraux classify --model facebook/dinov2-small --head pets.safetensors cat.jpg    a classifier trained by `fit`
  find . -name '*.jpg' | vitraux classify --model google/vit-base-patch16-224 --format json -";

pub const EMBED: &str = "\
Examples:
  vitraux embed --model facebook/dinov2-small --l2 --output photos.parquet photos/
  vitraux embed --model facebook/dinov2-small --output photos.npy --resume photos/
  vitraux embed --model google/vit-base-patch16-224 --layer 8 --format csv --glob '!**/thumbs/**' photos/
  vitraux embed --model facebook/dinov2-small --tokens --output tokens.safetensors cat.jpg";

pub const SIMILAR: &str = "\
Examples:
  vitraux similar --model facebook/dinov2-small --to cat.jpg --index photos.safetensors photos/
  vitraux similar --model facebook/dinov2-small --to dog.jpg --index photos.safetensors         indexed images are not read again
  vitraux similar --model facebook/dinov2-small --pairs --above 0.95 photos/                     near-duplicates";

pub const FIT: &str = "\
Examples:
  vitraux fit --model facebook/dinov2-small --output pets.safetensors pets/              pets/cat/1.jpg, pets/dog/2.jpg and so on
  vitraux fit --model facebook/dinov2-small --hold-out 0 --ridge 10 --output pets.safetensors pets/
  vitraux classify --model facebook/dinov2-small --head pets.safetensors cat.jpg";

pub const ATTENTION: &str = "\
Examples:
  vitraux attention --model facebook/dinov2-small --output maps/ cat.jpg                 the class token, mean of all heads
  vitraux attention --model facebook/dinov2-small --output maps/ --head all cat.jpg      one map per head
  vitraux attention --model facebook/dinov2-small --output maps/ --query 120,80 --block 6 cat.jpg
  vitraux attention --model google/vit-base-patch16-224 --output maps/ --rollout --resume photos/
  vitraux attention --model facebook/dinov2-small --output maps/ --pca photos/";

pub const FORWARD: &str = "\
Examples:
  vitraux preprocess --model google/vit-base-patch16-224 --output pixels.safetensors cat.jpg
  vitraux forward --model google/vit-base-patch16-224 --input pixels.safetensors --output out.safetensors --tap hidden.3,attn.11
  vitraux forward --model google/vit-base-patch16-224 --input pixels.safetensors --output out.safetensors --tap all --device cpu";

pub const PREPROCESS: &str = "\
Examples:
  vitraux preprocess --model google/vit-base-patch16-224 --output pixels.safetensors cat.jpg dog.jpg
  vitraux preprocess --model facebook/dinov2-small --image-size 448x336 --output pixels.safetensors cat.jpg";

pub const BENCH_MODEL: &str = "\
Examples:
  vitraux bench model --architecture vit_base_patch16_224 --batch 1 --batch 8 --device gpu
  vitraux bench model --model facebook/dinov2-small --precision f16 --accuracy
  vitraux bench model --architecture vit_tiny_patch16_224 --format json > before.json
  vitraux bench model --architecture vit_tiny_patch16_224 --compare before.json";

pub const BENCH_KERNELS: &str = "\
Examples:
  vitraux bench kernels --architecture vit_base_patch16_224 --device gpu --filter mlp
  vitraux bench kernels --architecture vit_base_patch16_224 --device gpu --filter layernorm --shader-dir my-shaders
  vitraux bench kernels --architecture vit_base_patch16_224 --device gpu --precision f16 --compare before.json";

pub const DOCTOR: &str = "\
Examples:
  vitraux doctor                                          every kernel on the best adapter
  vitraux doctor --device 1 --model google/vit-base-patch16-224 --precision f16
  vitraux doctor --format json > report.json              for a bug report
  vitraux doctor --filter attention --shader-dir shaders  while editing a shader";

pub const TUNE: &str = "\
Examples:
  vitraux tune --model google/vit-base-patch16-224 --batch 1 --batch 32 --precision f16 --device gpu
  vitraux tune --architecture vit_base_patch16_224 --device gpu --output h200.json
  vitraux tune --show --device gpu
  vitraux classify --model google/vit-base-patch16-224 --tuning h200.json cat.jpg";

pub const INSPECT: &str = "\
Examples:
  vitraux inspect --model facebook/dinov2-base
  vitraux inspect --model google/vit-base-patch16-224 --precision f16 --batch 32 --format json";

#[cfg(test)]
mod tests {
    use crate::commands::Cli;
    use clap::{Command, CommandFactory, Parser};

    /// Returns the calls of the program in a text, without remarks or shell syntax.
    fn calls(text: &str) -> Vec<String> {
        let call = |line: &str| {
            let line = &line[line.find("vitraux ")?..];
            let end = ["  ", " > ", ")"].into_iter().filter_map(|end| line.find(end)).min().unwrap_or(line.len());
            Some(line[..end].to_owned())
        };
        text.lines().skip_while(|line| *line != "Examples:").take_while(|line| !line.is_empty()).filter_map(call).collect()
    }

    fn check(command: &Command) {
        let own = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for call in calls(&own) {
            let arguments = call.split(' ').map(|argument| argument.trim_matches('\''));
            assert!(Cli::try_parse_from(arguments).is_ok(), "{call}: {}", Cli::try_parse_from(call.split(' ')).unwrap_err());
        }
        let has_subcommands = command.get_subcommands().next().is_some();
        let needs_none = ["devices", "models", "families", "completions", "man"].contains(&command.get_name());
        assert!(has_subcommands || needs_none || calls(&own).iter().any(|call| call.contains(command.get_name())), "{}", command.get_name());
        command.get_subcommands().for_each(check);
    }

    #[test]
    fn every_help_example_parses() {
        assert_eq!(calls("Examples:\n  vitraux a b  remark\n  x | vitraux c 'd' > e\n\n  vitraux f"), ["vitraux a b", "vitraux c 'd'"]);
        check(&Cli::command());
    }
}
