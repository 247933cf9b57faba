"""Export for Ollama: a GGUF file and a Modelfile whose template renders what the model was trained with."""
