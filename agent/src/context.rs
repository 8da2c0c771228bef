//! What an agent may know about itself and its cluster.

use std::ops::Deref;

use hatchery_protocol::child::{Child, Context};

#[cfg(feature = "fleet")]
use crate::fleet::Fleet;

/// Who this agent is, and how it hears of its cluster. Cheap to clone: tasks take their own.
///
/// Everything is in the [`Context`] that it dereferences to.
#[derive(Debug, Clone)]
pub struct AgentContext {
    context: Context,
    #[cfg(feature = "fleet")]
    fleet: Fleet,
}

impl AgentContext {
    /// With the feature `fleet` this becomes a member of it, so it has to be called on the agent's runtime.
    pub(crate) fn new(child: &Child, version: Option<String>) -> Self {
        let context = Context::new(child);
        #[cfg(not(feature = "fleet"))]
        drop(version);
        Self {
            #[cfg(feature = "fleet")]
            fleet: join(child, &context, version),
            context,
        }
    }

    /// The hosts that run this application. Without the setting `fleet` its calls say that there is none.
    #[cfg(feature = "fleet")]
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }
}

#[cfg(feature = "fleet")]
fn join(child: &Child, context: &Context, version: Option<String>) -> Fleet {
    let Some(boot) = &child.boot().fleet else {
        return Fleet::default();
    };
    let members = context.members();
    let about = crate::fleet::About {
        name: context.name().to_owned(),
        version,
        workers: std::sync::Arc::new(move || members.now().workers.len()),
    };
    Fleet::join(boot.clone(), about)
}

impl Deref for AgentContext {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.context
    }
}
