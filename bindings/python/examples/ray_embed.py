"""Embed images with Ray Data, into Parquet.

    pip install vitraux 'ray[data]'
    python ray_embed.py IMAGES OUTPUT [--model facebook/dinov2-small] [--workers 2] [--gpus-per-worker 1] [--webdataset jpg]

IMAGES is a folder, or a bucket such as s3://bucket/photos, of images or of webdataset's shards. Columns of the result: path, embedding, and error for images that could not be
read. Ray starts another worker for one that dies, and gives it the same images again.
"""

import argparse

import ray

from vitraux.cluster import Embedder

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("images")
arguments.add_argument("output")
arguments.add_argument("--model", default="facebook/dinov2-small")
arguments.add_argument("--device", default="auto")
arguments.add_argument("--workers", type=int, default=2)
arguments.add_argument("--gpus-per-worker", type=float, default=0)
arguments.add_argument("--batch-size", type=int, default=64)
arguments.add_argument("--webdataset", metavar="EXTENSION", help="read tar shards whose images have this extension; their other members become columns")


def main():
    given = arguments.parse_args()
    if given.webdataset:
        # Without a decoder, images stay files.
        images = ray.data.read_webdataset(given.images, decoder=None)
    else:
        images = ray.data.read_binary_files(given.images, include_paths=True)
    embeddings = images.map_batches(
        Embedder,
        fn_constructor_args=[given.model],
        fn_constructor_kwargs={"device": given.device, "image": given.webdataset or "bytes"},
        batch_size=given.batch_size,
        compute=ray.data.ActorPoolStrategy(size=given.workers),
        num_gpus=given.gpus_per_worker,
    )
    embeddings.write_parquet(given.output)


if __name__ == "__main__":
    main()
