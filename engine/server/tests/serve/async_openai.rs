//! A client that is not ours: the `async-openai` crate.

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::types::chat::{ChatCompletionRequestUserMessageArgs, CreateChatCompletionRequestArgs};
use async_openai::types::completions::CreateCompletionRequestArgs;
use futures_util::StreamExt as _;

use crate::running::Server;

fn client(server: &Server) -> Client<OpenAIConfig> {
    let base = format!("http://{}/v1", server.address);
    Client::with_config(OpenAIConfig::new().with_api_base(base).with_api_key("not needed here"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn async_openai_chats_streams_and_lists() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let client = client(&server);
    let models = client.models().list().await.unwrap();
    assert!(models.data.iter().any(|model| model.id == "clay"));
    let message = ChatCompletionRequestUserMessageArgs::default().content("What grows here?").build().unwrap();
    let mut request = CreateChatCompletionRequestArgs::default();
    request.model("clay").messages([message.into()]).max_completion_tokens(6_u32).temperature(0.0);
    request.logprobs(true).top_logprobs(2_u8);
    let whole = client.chat().create(request.build().unwrap()).await.unwrap();
    let text = whole.choices[0].message.content.clone().unwrap();
    let logprobs = whole.choices[0].logprobs.as_ref().unwrap().content.as_ref().unwrap();
    assert_eq!((logprobs.len(), logprobs[0].top_logprobs.len()), (6, 2));
    assert_eq!(whole.usage.unwrap().completion_tokens, 6);
    let mut stream = client.chat().create_stream(request.build().unwrap()).await.unwrap();
    let mut streamed = String::new();
    while let Some(chunk) = stream.next().await {
        for choice in chunk.unwrap().choices {
            streamed.push_str(&choice.delta.content.unwrap_or_default());
        }
    }
    assert_eq!(streamed, text, "the same answer in pieces");
    let request = CreateCompletionRequestArgs::default().model("tiny").prompt("What grows").max_tokens(3_u32).build();
    let completion = client.completions().create(request.unwrap()).await.unwrap();
    assert_eq!(completion.usage.unwrap().completion_tokens, 3);
    server.stop();
}
