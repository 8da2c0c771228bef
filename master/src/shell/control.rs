//! The control socket, as the shell has it: when clients are let in, and whose file it is.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;

use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::Input;
use crate::control;
use crate::listener::SocketFile;

#[derive(Debug)]
pub(super) struct Control {
    /// A second handle, for a master that takes over.
    socket: OwnedFd,
    file: SocketFile,
    task: AbortHandle,
    /// Lets the first client in.
    door: Option<oneshot::Sender<()>>,
}

impl Control {
    /// Lets nobody in yet. `alive` is held by each client's task.
    pub(super) fn start(
        (listener, file): (UnixListener, SocketFile),
        inputs: mpsc::Sender<Input>,
        alive: mpsc::Sender<()>,
    ) -> io::Result<Self> {
        let socket = listener.as_fd().try_clone_to_owned()?;
        let listener = tokio::net::UnixListener::from_std(listener)?;
        let (door, opened) = oneshot::channel();
        let task = tokio::spawn(async move {
            if opened.await.is_ok() {
                control::serve(listener, inputs, alive).await;
            }
        });
        Ok(Self {
            socket,
            file,
            task: task.abort_handle(),
            door: Some(door),
        })
    }

    /// Lets clients in; from here on the socket's file is ours.
    pub(super) fn open(&mut self) {
        self.file.own();
        if let Some(door) = self.door.take() {
            let _ = door.send(());
        }
    }

    /// Another master lets clients in from here on. Those who are in stay.
    pub(super) fn hand_over(&mut self) {
        self.task.abort();
        self.file.disown();
    }

    /// The listening socket.
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
    }
}
