"""GGUF: models and adapters for llama.cpp, Ollama and LM Studio, without a llama.cpp build."""
