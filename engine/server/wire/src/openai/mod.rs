//! OpenAI's interface over HTTP, with the extensions that vLLM and LoRAX have, and ours.
