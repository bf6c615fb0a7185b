// Random checkpoints in timm's layout.

/** Returns the tensors of a Vision Transformer by name: their shapes. */
function shapes({ width, depth, mlp, patch, image, classes }) {
  const tokens = (image / patch) ** 2 + 1;
  const linear = (name, out, input) => ({ [`${name}.weight`]: [out, input], [`${name}.bias`]: [out] });
  const norm = (name) => ({ [`${name}.weight`]: [width], [`${name}.bias`]: [width] });
  const block = (i) => ({
    ...norm(`blocks.${i}.norm1`),
    ...linear(`blocks.${i}.attn.qkv`, 3 * width, width),
    ...linear(`blocks.${i}.attn.proj`, width, width),
    ...norm(`blocks.${i}.norm2`),
    ...linear(`blocks.${i}.mlp.fc1`, mlp, width),
    ...linear(`blocks.${i}.mlp.fc2`, width, mlp),
  });
  return {
    cls_token: [1, 1, width],
    pos_embed: [1, tokens, width],
    "patch_embed.proj.weight": [width, 3, patch, patch],
    "patch_embed.proj.bias": [width],
    ...Object.assign({}, ...[...Array(depth).keys()].map(block)),
    ...norm("norm"),
    ...linear("head", classes, width),
  };
}

const SIZE = { vit_tiny_patch16_224: { width: 192, depth: 12, mlp: 768, heads: 3 }, vit_base_patch16_224: { width: 768, depth: 12, mlp: 3072, heads: 12 } };

const count = (shape) => shape.reduce((a, b) => a * b, 1);

/** Returns the configuration of one of timm's models and the header of its safetensors file, whose data follow. */
export function header(architecture, names = () => true) {
  const config = { architecture, num_classes: 1000, pretrained_cfg: { input_size: [3, 224, 224], mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] } };
  const tensors = Object.entries(shapes({ ...SIZE[architecture], patch: 16, image: 224, classes: 1000 })).filter(([name]) => names(name));
  let offset = 0;
  const entries = tensors.map(([name, shape]) => [name, { dtype: "F32", shape, data_offsets: [offset, (offset += 4 * count(shape))] }]);
  const text = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  const padded = Buffer.concat([text, Buffer.alloc((8 - (text.length % 8)) % 8, " ")]);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  return { config, tensors, header: Buffer.concat([length, padded]), bytes: offset };
}

/** Returns the configuration and the safetensors file of one of timm's models, with weights from -0.05 to 0.05. */
export function checkpoint(architecture, names) {
  const { config, header: start, tensors, bytes } = header(architecture, names);
  const values = new Float32Array(bytes / 4);
  let state = 1;
  for (let i = 0; i < values.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    values[i] = (state / 2 ** 32 - 0.5) / 10;
  }
  return { config, tensors: tensors.map(([name]) => name), weights: Buffer.concat([start, Buffer.from(values.buffer)]) };
}
