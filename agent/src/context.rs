//! What an agent may know about itself and its cluster.

use std::ops::Deref;

use hatchery_protocol::child::{Child, Context};

#[cfg(feature = "fleet")]
use crate::fleet::Fleet;
use crate::leader::{LeadError, Leader, Leaders};

/// Who this agent is, and how it hears of its cluster. Cheap to clone: tasks take their own.
///
/// Most is in the [`Context`] that it dereferences to.
#[derive(Debug, Clone)]
pub struct AgentContext {
    context: Context,
    leaders: Leaders,
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
            leaders: Leaders::default(),
            #[cfg(feature = "fleet")]
            fleet: join(child, &context, version),
            context,
        }
    }

    pub(crate) fn leaders(&self) -> &Leaders {
        &self.leaders
    }

    /// Makes a client known that all processes of the cluster use, by [`Context::follower`] with this name. To be
    /// called in [`Agent::start`](crate::Agent::start), so that nobody asks for it in vain.
    ///
    /// # Errors
    ///
    /// The name is empty, or taken.
    pub fn lead(&self, name: &str, leader: impl Leader) -> Result<(), LeadError> {
        self.leaders.add(name, Box::new(leader))
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
    let fleet = match child.boot().host {
        Some(host) => Fleet::join_as(boot.clone(), about, host),
        None => Fleet::join(boot.clone(), about),
    };
    tokio::spawn(crate::fleet::report(fleet.clone(), child.gauges()));
    fleet
}

impl Deref for AgentContext {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.context
    }
}
