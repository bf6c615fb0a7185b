"""Writes tests/fixtures/tokenizers/strings.jsonl.gz: 1,000 strings with the ids of transformers, the folders of further tokenizers, and a seed of fuzz/.

    pip install transformers==5.24.0 tokenizers==0.23.3 sentencepiece==0.2.3 protobuf
    python tests/tokens/make.py

With --check FOLDER PROGRAM, compares a folder's tokenizer, such as one with a real vocabulary, with the program instead.
"""

import gzip
import io
import json
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent / "fixtures" / "tokenizers"
KINDS = ["hf_clip_text_full", "hf_clip_text_proj", "hf_siglip_text_full", "hf_siglip2_naflex", "clip_added", "siglip_bytes", "t5"]
COUNT = 1000
# Longer than those of the cases, so that more of each string counts.
LENGTH = 77

WORDS = """a photo of the cat dog's café naïve Straße ΣΊΣΥΦΟΣ İstanbul I'M don't they'LL we've 3.14 1,000 ½ ² Ⅻ ٣ 2024
hello WORLD illustration black-and-white under_score e-mail http://example.org/a?b=c&d=e user@host #tag &amp; &lt;b&gt; &#39; &nbsp; <br/>
ﬁne ﷺ ㍿ ①②③ ｆｕｌｌ ǅ ẞ ŉ ŀ K Å""".split()
SCRIPTS = ["一张猫的照片", "猫の写真と犬", "カタカナ", "한국어 사진", "ภาพแมว", "बिल्ली की तस्वीर", "தமிழ்", "фото кошки", "صورة قطة", "תמונה של חתול",
           "γάτα", "ქართული", "አማርኛ", "မြန်မာ", "ខ្មែរ", "𝒜𝓫𝔠", "𠀀𪚥", "🄰🅱", "ﬀﬁﬂ", "ꙮ", "ᚠᚢᚦ"]
EMOJI = ["🐱", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪🇫🇷", "👍🏽", "❤️", "☺", "1️⃣", "👩🏿‍🚀", "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "😀" * 5]
MARKS = ["́", "̈", "̧̣", "҉", "̴" * 8, "゙", "्", "ּ", "ً", "⃝", "︎", "️", "‍"]
SPACES = [" ", "  ", "\t", "\n", "\r\n", "\x0b", "\x0c", "\x1c", "\x1f", "\x85", "\xa0", "\u1680", "\u2003", "\u200b", "\u2028", "\u2029", "\u202f", "\u3000", "\ufeff", "▁", "▁▁"]
CONTROLS = [chr(c) for c in (0, 1, 7, 8, 0x1b, 0x7f, 0x80, 0x9f, 0xad, 0x200e, 0x202e, 0x2066, 0xfffd, 0xffff, 0xe000, 0x10ffff, 0x378)]
SPECIAL = ["<|startoftext|>", "<|endoftext|>", "<|ENDOFTEXT|>", "</s>", "<unk>", "<s>", "<pad>", "<bos>", "<eos>", "<EOS>", "<mask>", "<0x41>", "</w>", "<|", "|>", "</s></s>",
           " </s> ", "<unused0>", "[red]", "wordy", "Größe", "<end>", "▁a"]
PUNCTUATION = list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") + ["...", "!!!", "?!", "—", "…", "“", "”", "«", "»", "’s", "'S", "'t", "''", "((", "]]", "。", "、", "،", "¿", "€", "©", "№", "′"]


def strings():
    """Returns the strings: fixed ones, and random mixtures."""
    pick = random.Random(20261128)
    pools = [WORDS, SCRIPTS, EMOJI, MARKS, SPACES, CONTROLS, SPECIAL, PUNCTUATION]
    found = ["", " ", "\n", "▁", "a", "A", "'", "<", "  a  ", "a" * 3000, "ab " * 1000, "😀" * 500, "é" * 400, "e" + "́" * 300, " " * 500, "\x00", "</s>", "<|endoftext|>" * 100]
    while len(found) < COUNT:
        style = pick.randrange(6)
        if style == 0:  # one kind
            pool = pick.choice(pools)
            text = "".join(pick.choice(pool) for _ in range(pick.randint(1, 12)))
        elif style == 1:  # a caption
            text = " ".join(pick.choice(WORDS) for _ in range(pick.randint(1, 20)))
        elif style == 2:  # any characters
            places = [(0, 0x250), (0, 0x3000), (0x3000, 0xd800), (0xe000, 0x11000), (0x1f000, 0x1fb00)]
            text = "".join(chr(pick.randrange(*pick.choice(places))) for _ in range(pick.randint(1, 30)))
        else:  # a mixture
            text = "".join(pick.choice(pick.choice(pools)) + pick.choice(["", "", " "]) for _ in range(pick.randint(1, 25)))
        if text not in found:
            found.append(text)
    return found


def lengthened(folder, copy):
    """Copies a tokenizer's folder, with texts of LENGTH tokens."""
    shutil.copytree(folder, copy)
    change(copy / "tokenizer_config.json", lambda config: config.update(model_max_length=LENGTH))
    change(copy / "config.json", lambda config: config.get("text_config", config).update(max_position_embeddings=LENGTH))
    return copy


def change(file, by):
    value = json.loads(file.read_text())
    by(value)
    file.chmod(0o644)
    file.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def clip_added():
    """CLIP's case, with added tokens of every kind, as vocab.json and merges.txt alone, padded and cut at the left."""
    folder = ROOT / "clip_added"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for file in ["config.json", "vocab.json", "merges.txt", "tokenizer_config.json"]:
        shutil.copy(ROOT / "hf_clip_text_full" / file, folder)
    flag = lambda content, **flags: {"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False} | flags
    added = [flag("[red]", lstrip=True, rstrip=True), flag("wordy", single_word=True), flag("Größe"), flag("<end>", special=True, normalized=False), flag("..", normalized=False)]
    start = len(json.loads((folder / "vocab.json").read_text()))
    decoder = {"662": flag("<|startoftext|>", special=True), "663": flag("<|endoftext|>", special=True, normalized=False)}
    decoder |= {str(start + i): token for i, token in enumerate(added)}
    change(folder / "tokenizer_config.json", lambda config: config.update(added_tokens_decoder=decoder, extra_special_tokens=["<unused0>"], padding_side="left", truncation_side="left"))
    change(folder / "config.json", lambda config: config["text_config"].update(vocab_size=start + 6))


def siglip_bytes():
    """SigLIP's class with another SentencePiece: byte fallback, user-defined pieces, no table of replacements."""
    import sentencepiece

    folder = ROOT / "siglip_bytes"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    model = io.BytesIO()
    words = [word.lower() for word in WORDS for _ in range(3)]
    pick = random.Random(7)
    lines = [" ".join(pick.choice(words) for _ in range(8)) for _ in range(400)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, vocab_size=370, byte_fallback=True, user_defined_symbols=["photo", "photograph", "▁xx"],
        normalization_rule_name="identity", pad_id=0, eos_id=1, unk_id=2, bos_id=-1, pad_piece="<pad>", num_threads=1, minloglevel=2, character_coverage=0.98)
    (folder / "spiece.model").write_bytes(model.getvalue())
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "SiglipTokenizer", "model_max_length": 16, "do_lower_case": False, "additional_special_tokens": ["[red]", "<end>"]}) + "\n")
    (folder / "config.json").write_text(json.dumps({"model_type": "siglip", "text_config": {"max_position_embeddings": 16, "vocab_size": 372}}) + "\n")


def t5():
    """SigLIP's vocabulary in the class that open_clip's SigLIP has."""
    from transformers import T5Tokenizer

    folder = ROOT / "t5"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with tempfile.TemporaryDirectory() as temporary:
        shutil.copy(ROOT / "hf_siglip_text_full" / "spiece.model", temporary)
        tokenizer = T5Tokenizer.from_pretrained(temporary, pad_token="</s>", extra_ids=2, additional_special_tokens=["<extra_id_0>", "<extra_id_1>", "[red]"], model_max_length=16)
        tokenizer.save_pretrained(folder)
    # Its table of replacements is one step of several there.
    step = lambda file: file.update(normalizer={"type": "Sequence", "normalizers": [file["normalizer"], {"type": "Strip", "strip_left": False, "strip_right": True}]})
    change(folder / "tokenizer.json", step)
    (folder / "config.json").write_text(json.dumps({"model_type": "siglip", "text_config": {"max_position_embeddings": 16, "vocab_size": len(tokenizer)}}) + "\n")


def unigram_seed():
    """A tokenizer.json of the same class for fuzz/, small enough to be mutated."""
    import sentencepiece

    seed = ROOT.parents[2] / "fuzz" / "seeds" / "unigram" / "tokenizer.json"
    seed.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        rules = Path(temporary) / "rules.tsv"
        rules.write_text("FB01\t66 69\nFF21\t41\n65 301\tE9\n")
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["a photo of a cat", "a photo of a dog", "the cat"] * 20), model_prefix=f"{temporary}/spiece", vocab_size=15, pad_id=0, eos_id=1, unk_id=2,
            bos_id=-1, pad_piece="<pad>", normalization_rule_tsv=str(rules), num_threads=1, minloglevel=2)
        from transformers import T5Tokenizer

        tokenizer = T5Tokenizer.from_pretrained(temporary, extra_ids=0)
        tokenizer.save_pretrained(temporary)
        shutil.copy(Path(temporary) / "tokenizer.json", seed)


def reference(folder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    return lambda text: tokenizer(text, padding="max_length", truncation=True)


def check(folder, program):
    """Compares a folder's tokenizer with the program."""
    encode, texts = reference(folder), strings()
    wrong = 0
    for text in texts:
        if "\x00" in text:
            continue
        run = subprocess.run([program, "tokenize", "--format", "json", "--model", folder, "--", text], capture_output=True, text=True, check=False)
        expected, found = encode(text), json.loads(run.stdout) if run.stdout else run.stderr
        if run.stderr or (found["input_ids"], found["attention_mask"]) != (expected["input_ids"], expected["attention_mask"]):
            wrong += 1
            print(ascii(text[:80]), expected["input_ids"], found if run.stderr else found["input_ids"], sep="\n  ")
    print(f"{len(texts)} strings, {wrong} differ")


def main():
    clip_added()
    siglip_bytes()
    t5()
    unigram_seed()
    texts = strings()
    rows = [{"text": text} for text in texts]
    with tempfile.TemporaryDirectory() as temporary:
        for kind in KINDS:
            encode = reference(lengthened(ROOT / kind, Path(temporary) / kind))
            for row in rows:
                tokens = encode(row["text"])
                assert len(tokens["input_ids"]) == LENGTH
                # Without the padding, whose length the sum of the mask gives.
                row[kind] = [id for id, mask in zip(tokens["input_ids"], tokens["attention_mask"]) if mask]
    lines = "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)
    (ROOT / "strings.jsonl.gz").write_bytes(gzip.compress(lines.encode("utf-8", "strict"), 9, mtime=0))


if __name__ == "__main__":
    check(sys.argv[2], sys.argv[3]) if sys.argv[1:2] == ["--check"] else main()
