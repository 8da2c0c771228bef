//! What an author implements around a client.

use async_trait::async_trait;
use hatchery_protocol::child::BoxError;
use serde_json::Value;

use crate::Feed;

/// A client of which there is one, in the agent, and which all processes of the cluster use: the connection to a
/// configuration centre, a subscription that costs money, a file that is watched.
///
/// Make it known by [`AgentContext::lead`](crate::AgentContext::lead); workers follow it by
/// `context.follower(name)`. Calls overlap: each is a task of its own on the agent's runtime.
///
/// ```
/// use hatchery_agent::{Agent, AgentContext, BoxError, Feed, Leader};
/// use serde_json::{Value, json};
///
/// /// Tells the time, each second.
/// struct Clock;
///
/// #[async_trait::async_trait]
/// impl Leader for Clock {
///     async fn subscribe(&self, zone: &str, feed: Feed) -> Result<(), BoxError> {
///         if zone != "uptime" {
///             return Err("there is no such clock".into());
///         }
///         let begun = std::time::Instant::now();
///         tokio::spawn(async move {
///             let mut second = tokio::time::interval(std::time::Duration::from_secs(1));
///             loop {
///                 second.tick().await;
///                 let _ = feed.put(&begun.elapsed().as_secs());
///             }
///         });
///         Ok(())
///     }
///
///     async fn invoke(&self, method: &str, _argument: Value) -> Result<Value, BoxError> {
///         match method {
///             "zones" => Ok(json!(["uptime"])),
///             _ => Err("a clock does not do that".into()),
///         }
///     }
/// }
///
/// struct MyAgent;
///
/// #[async_trait::async_trait]
/// impl Agent for MyAgent {
///     async fn start(&mut self, context: &AgentContext) -> Result<(), BoxError> {
///         context.lead("clock", Clock)?;
///         Ok(())
///     }
/// }
/// ```
#[async_trait]
pub trait Leader: Send + Sync + 'static {
    /// Somebody follows this key, for the first time in this process's life. From now on its values are to be put
    /// into the feed: the one it has, if it is known, and each one that it gets. Work that goes on belongs into a
    /// task.
    ///
    /// # Errors
    ///
    /// Told to whoever follows; it is asked for again after a while, as long as somebody does.
    async fn subscribe(&self, key: &str, feed: Feed) -> Result<(), BoxError>;

    /// Somebody wants the key to have this value, wherever the values come from.
    ///
    /// # Errors
    ///
    /// Told to whoever publishes. Without an implementation, that it cannot be done.
    async fn publish(&self, key: &str, value: Value) -> Result<(), BoxError> {
        let _ = (key, value);
        Err("nothing can be published here".into())
    }

    /// Somebody calls a method.
    ///
    /// # Errors
    ///
    /// Told to whoever calls. Without an implementation, that it cannot be done.
    async fn invoke(&self, method: &str, argument: Value) -> Result<Value, BoxError> {
        let _ = (method, argument);
        Err("nothing can be called here".into())
    }
}
