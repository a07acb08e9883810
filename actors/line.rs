//! A line to an actor that survives the actor's restarts.

use std::sync::Arc;

use actix::dev::ToEnvelope;
use actix::prelude::*;
use parking_lot::RwLock;

/// Sends messages of one type to whoever is the actor's present generation. The supervisor connects it anew
/// after each restart. A message sent while nobody is there is dropped: a ticket in it returns by itself.
pub struct Line<M>
where
    M: Message + Send,
    M::Result: Send,
{
    current: Arc<RwLock<Option<Recipient<M>>>>,
}

impl<M> Clone for Line<M>
where
    M: Message + Send,
    M::Result: Send,
{
    fn clone(&self) -> Self {
        Line { current: Arc::clone(&self.current) }
    }
}

impl<M> Default for Line<M>
where
    M: Message + Send,
    M::Result: Send,
{
    fn default() -> Self {
        Line { current: Arc::default() }
    }
}

impl<M> Line<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    /// From now on messages go to `actor`.
    pub fn connect<A>(&self, actor: &Addr<A>)
    where
        A: Actor + Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        *self.current.write() = Some(actor.clone().recipient());
    }

    /// Sends without waiting for the mailbox or an answer.
    pub fn send(&self, message: M) {
        if let Some(recipient) = self.current.read().as_ref() {
            recipient.do_send(message);
        }
    }

    /// Asks and waits for the answer; none when nobody is there, or whoever is there dies over it.
    pub async fn ask(&self, message: M) -> Option<M::Result> {
        let request = self.current.read().as_ref().map(|recipient| recipient.send(message));
        request?.await.ok()
    }
}
