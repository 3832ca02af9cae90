"""The train stage: fine-tune a Hugging Face encoder, export it to ONNX, check parity, evaluate, write the artifact."""
