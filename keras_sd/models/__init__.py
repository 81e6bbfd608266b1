"""Networks built from a specification, and models derived from them: for inference, export, fine-tuning."""
