"""Embed images with Spark, into Parquet.

    pip install vitraux pyspark pandas pyarrow
    spark-submit spark_embed.py IMAGES OUTPUT [--model facebook/dinov2-small]

IMAGES is a folder, or a bucket such as s3a://bucket/photos. Columns of the result: path, embedding, and error for images that could not be
read. Spark runs the task of a worker that dies again, on another one.
"""

import argparse

from pyspark.sql import SparkSession

from vitraux.cluster import Embedder

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("images")
arguments.add_argument("output")
arguments.add_argument("--model", default="facebook/dinov2-small")
arguments.add_argument("--device", default="auto")
arguments.add_argument("--batch-size", type=int, default=64)


def main():
    given = arguments.parse_args()
    spark = SparkSession.builder.appName("vitraux").getOrCreate()
    # A batch of 10,000 photos, the default, would not fit a worker's memory.
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", given.batch_size)
    images = spark.read.format("binaryFile").load(given.images).select("path", "content")
    embedder = Embedder(given.model, device=given.device, image="content")
    embeddings = images.mapInPandas(embedder.frames, "path string, embedding array<float>, error string")
    embeddings.write.mode("errorifexists").parquet(given.output)
    spark.stop()


if __name__ == "__main__":
    main()
