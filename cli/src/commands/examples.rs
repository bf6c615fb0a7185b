//! Examples for `--help`. A test checks that the program accepts each of them.

pub const VITRAUX: &str = "\
Examples:
  # read a digit with the built-in model
  vitraux classify photo.jpg
  vitraux classify -m google/vit-base-patch16-224 photos/
  vitraux classify -m facebook/deit-tiny-patch16-224 --format csv -o answers.csv --resume photos/
  vitraux embed -m facebook/dinov2-small --l2 -o photos.parquet photos/
  vitraux similar -m facebook/dinov2-small --to cat.jpg --index photos.safetensors photos/
  vitraux attention -m facebook/dinov2-small -o maps/ photos/cat.jpg
  vitraux serve -m google/vit-base-patch16-224
  vitraux bench model --architecture vit_base_patch16_224 --device gpu
  # check the GPU
  vitraux doctor
  source <(vitraux completions bash)

Environment:
  VITRAUX_MODEL   default for --model
  VITRAUX_DEVICE  default for --device
  HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE  as in Hugging Face's libraries
  NO_COLOR        disable colours";

pub const CLASSIFY: &str = "\
Examples:
  # with the built-in digit model
  vitraux classify photo.jpg
  vitraux classify -m google/vit-base-patch16-224 --top 3 photos/ '*.png'
  # classes by their names, with a model of images and texts
  vitraux classify -m openai/clip-vit-base-patch32 --labels 'a cat, a dog' --template '{}' photos/
  vitraux classify -m google/siglip-base-patch16-224 --labels labels.txt photos/
  vitraux classify -m facebook/deit-tiny-patch16-224 --format csv -o answers.csv --resume photos/
  # a classifier trained by `fit`
  vitraux classify -m facebook/dinov2-small --head pets.safetensors cat.jpg
  find . -name '*.jpg' | vitraux classify -m google/vit-base-patch16-224 --format json -";

pub const EMBED: &str = "\
Examples:
  vitraux embed -m facebook/dinov2-small --l2 -o photos.parquet photos/
  vitraux embed -m facebook/dinov2-small -o photos.npy --resume photos/
  vitraux embed -m google/vit-base-patch16-224 --layer 8 --format csv --glob '!**/thumbs/**' photos/
  vitraux embed -m facebook/dinov2-small --tokens -o tokens.safetensors cat.jpg
  # vectors/00000.parquet and so on
  vitraux embed -m facebook/dinov2-small --shards -o vectors/ shards/*.tar";

pub const SIMILAR: &str = "\
Examples:
  vitraux similar -m facebook/dinov2-small --to cat.jpg --index photos.safetensors photos/
  # indexed images are not read again
  vitraux similar -m facebook/dinov2-small --to dog.jpg --index photos.safetensors
  # near-duplicates
  vitraux similar -m facebook/dinov2-small --pairs --above 0.95 photos/";

pub const SEARCH: &str = "\
Examples:
  # an index of image vectors first
  vitraux similar -m openai/clip-vit-base-patch32 --index photos.safetensors photos/
  vitraux search 'a dog on a beach' --index photos.safetensors
  vitraux search 'a dog on a beach' --index photos.safetensors --top 50 --html dogs.html
  vitraux search 'a dog on a beach' --index photos.safetensors --copy-to dogs/";

pub const FIT: &str = "\
Examples:
  # pets/cat/1.jpg, pets/dog/2.jpg and so on
  vitraux fit -m facebook/dinov2-small -o pets.safetensors pets/
  vitraux fit -m facebook/dinov2-small --hold-out 0 --ridge 10 -o pets.safetensors pets/
  vitraux classify -m facebook/dinov2-small --head pets.safetensors cat.jpg";

pub const ATTENTION: &str = "\
Examples:
  # the class token, mean of all heads
  vitraux attention -m facebook/dinov2-small -o maps/ cat.jpg
  # one map per head
  vitraux attention -m facebook/dinov2-small -o maps/ --head all cat.jpg
  vitraux attention -m facebook/dinov2-small -o maps/ --query 300,200 --block 6 cat.jpg
  vitraux attention -m google/vit-base-patch16-224 -o maps/ --rollout --resume photos/
  vitraux attention -m facebook/dinov2-small -o maps/ --pca photos/";

pub const DEPTH: &str = "\
Examples:
  # maps/cat.depth.png, grey with 16 bits
  vitraux depth -m depth-anything/Depth-Anything-V2-Small-hf -o maps/ cat.jpg
  # also in colours, and the numbers as an array
  vitraux depth -m depth-anything/Depth-Anything-V2-Small-hf -o maps/ --format png,colour,npy cat.jpg
  # in metres
  vitraux depth -m depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf -o maps/ --resume photos/";

pub const SEGMENT: &str = "\
Examples:
  # the classes' areas
  vitraux segment -m Intel/dpt-large-ade street.jpg
  vitraux segment -m Intel/dpt-large-ade --format json street.jpg
  # maps/street.segment.png with a class for each pixel
  vitraux segment -m Intel/dpt-large-ade -o maps/ --resume photos/";

pub const FORWARD: &str = "\
Examples:
  vitraux preprocess -m google/vit-base-patch16-224 -o pixels.safetensors cat.jpg
  vitraux forward -m google/vit-base-patch16-224 --input pixels.safetensors -o out.safetensors --tap hidden.3,attn.11
  vitraux forward -m google/vit-base-patch16-224 --input pixels.safetensors -o out.safetensors --tap all --device cpu";

pub const PREPROCESS: &str = "\
Examples:
  vitraux preprocess -m google/vit-base-patch16-224 -o pixels.safetensors cat.jpg dog.jpg
  vitraux preprocess -m facebook/dinov2-small --image-size 448x336 -o pixels.safetensors cat.jpg";

pub const TOKENIZE: &str = "\
Examples:
  vitraux tokenize -m openai/clip-vit-base-patch32 'a photo of a cat' 'a photo of a dog'
  vitraux tokenize -m google/siglip2-base-patch16-224 --format json < captions.txt > tokens.jsonl";

pub const SERVE: &str = "\
Examples:
  # the built-in digit model, at http://127.0.0.1:8000/
  vitraux serve
  vitraux serve -m google/vit-base-patch16-224 -m search=facebook/dinov2-small --device gpu
  vitraux serve -m pets=facebook/dinov2-small --head pets.safetensors --listen 0.0.0.0:8080 --token-file token.txt
  curl --data-binary @cat.jpg 'http://127.0.0.1:8000/classify?top=3'
  curl -F image=@cat.jpg -F image=@dog.jpg 'http://127.0.0.1:8000/embed?model=search'";

pub const BENCH_MODEL: &str = "\
Examples:
  vitraux bench model --architecture vit_base_patch16_224 --batch 1,8 --device gpu
  vitraux bench model -m facebook/dinov2-small --precision f16 --accuracy
  vitraux bench model --architecture vit_tiny_patch16_224 --format json > before.json
  vitraux bench model --architecture vit_tiny_patch16_224 --compare before.json";

pub const BENCH_KERNELS: &str = "\
Examples:
  vitraux bench kernels --architecture vit_base_patch16_224 --device gpu --filter mlp
  vitraux bench kernels --architecture vit_base_patch16_224 --device gpu --filter layernorm --shader-dir my-shaders
  vitraux bench kernels --architecture vit_base_patch16_224 --device gpu --precision f16 --compare before.json";

pub const DOCTOR: &str = "\
Examples:
  # every kernel on the best adapter
  vitraux doctor
  vitraux doctor --device 1 -m google/vit-base-patch16-224 --precision f16
  # for a bug report
  vitraux doctor --format json > report.json
  # while editing a shader
  vitraux doctor --filter attention --shader-dir shaders";

pub const TUNE: &str = "\
Examples:
  vitraux tune -m google/vit-base-patch16-224 --batch 1,32 --precision f16 --device gpu
  vitraux tune --architecture vit_base_patch16_224 --device gpu -o h200.json
  vitraux tune --show --device gpu
  vitraux classify -m google/vit-base-patch16-224 --tuning h200.json cat.jpg";

pub const INSPECT: &str = "\
Examples:
  vitraux inspect -m facebook/dinov2-base
  vitraux inspect -m google/vit-base-patch16-224 --precision f16 --batch 32 --format json";

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

    /// Splits a call at blanks, as a shell does: what is quoted is one argument.
    fn arguments(call: &str) -> Vec<&str> {
        let parts = call.split('\'').enumerate();
        parts.flat_map(|(i, part)| if i % 2 == 1 { vec![part] } else { part.split_whitespace().collect() }).collect()
    }

    fn check(command: &Command) {
        let own = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for call in calls(&own) {
            let parsed = Cli::try_parse_from(arguments(&call));
            assert!(parsed.is_ok(), "{call}: {}", parsed.unwrap_err());
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
