"""The dataset stage: from raw files to checked, split parquet files that training may trust."""
