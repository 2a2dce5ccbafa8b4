//! The listener over real sockets, with a small service behind it.

mod client;
mod crowd;
mod echo;
mod forms;
mod handed;
mod patience;
mod stop;
