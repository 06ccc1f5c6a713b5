//! The key-value store at which ranks meet (c10d's TCPStore), and calls to it with a time limit.
#![allow(unsafe_code)]

use std::ffi::{CString, c_char};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use super::ffi::{CStore, done, made, text};
use crate::error::{Error, Result};

unsafe extern "C" {
    fn var_store_open(host: *const c_char, port: u16, serve: i32, timeout: i64, out: *mut *mut CStore)
    -> i32;
    fn var_store_port(store: *mut CStore) -> i32;
    fn var_store_prefix(store: *mut CStore, prefix: *const c_char, out: *mut *mut CStore) -> i32;
    fn var_store_clone(store: *mut CStore, out: *mut *mut CStore) -> i32;
    fn var_store_set(store: *mut CStore, key: *const c_char, data: *const u8, length: usize) -> i32;
    fn var_store_get(
        store: *mut CStore,
        key: *const c_char,
        data: *mut u8,
        room: usize,
        length: *mut usize,
    ) -> i32;
    fn var_store_add(store: *mut CStore, key: *const c_char, amount: i64, sum: *mut i64) -> i32;
    fn var_store_check(store: *mut CStore, key: *const c_char, there: *mut i32) -> i32;
    fn var_store_free(store: *mut CStore);
}

/// Most bytes of a value; longer values are cut.
const LONGEST: usize = 1 << 16;

/// A connection to the store. Its calls may block forever when the machine that serves it is stopped or cut off: only
/// connecting has a time limit. `Messages` limits the other calls.
#[derive(Debug)]
pub struct Store(NonNull<CStore>);

// SAFETY: c10d serialises the requests of one connection with a mutex.
unsafe impl Send for Store {}

impl Store {
    /// Serves a store on `port` (0: any free port) of this machine, and connects to it at `host`.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn serve(host: &str, port: u16, timeout: Duration) -> Result<Self> {
        Self::open(host, port, true, timeout)
    }

    /// Connects to the store at `host:port`, which must exist within `timeout`.
    ///
    /// # Errors
    /// When no store is there.
    pub(crate) fn connect(host: &str, port: u16, timeout: Duration) -> Result<Self> {
        Self::open(host, port, false, timeout)
    }

    fn open(host: &str, port: u16, serve: bool, timeout: Duration) -> Result<Self> {
        let (host, timeout) = (text(host), milliseconds(timeout));
        // SAFETY: a zero-terminated string that outlives the call, and a place for one pointer.
        made(|out| unsafe { var_store_open(host.as_ptr(), port, i32::from(serve), timeout, out) }).map(Self)
    }

    /// The port of the store.
    pub fn port(&self) -> u16 {
        // SAFETY: a live store.
        u16::try_from(unsafe { var_store_port(self.0.as_ptr()) }).unwrap_or(0)
    }

    /// The same store, with `prefix` before every key, over the same connection.
    ///
    /// # Errors
    /// When memory runs out.
    pub(crate) fn under(&self, prefix: &str) -> Result<Self> {
        let prefix = text(prefix);
        // SAFETY: a live store, a string that outlives the call, and a place for one pointer.
        made(|out| unsafe { var_store_prefix(self.0.as_ptr(), prefix.as_ptr(), out) }).map(Self)
    }

    /// The same store over another connection, which does not wait for this one.
    ///
    /// # Errors
    /// When the connection fails.
    pub(crate) fn another(&self) -> Result<Self> {
        // SAFETY: a live store and a place for one pointer.
        made(|out| unsafe { var_store_clone(self.0.as_ptr(), out) }).map(Self)
    }

    /// Stores `value` under `key`.
    ///
    /// # Errors
    /// When the store is lost.
    pub(crate) fn set(&self, key: &str, value: &str) -> Result<()> {
        let key = text(key);
        // SAFETY: a live store; string and bytes outlive the call, which copies them.
        done(unsafe { var_store_set(self.0.as_ptr(), key.as_ptr(), value.as_ptr(), value.len()) })
    }

    /// The value under `key`, or `None`.
    ///
    /// # Errors
    /// When the store is lost.
    pub(crate) fn get(&self, key: &str) -> Result<Option<String>> {
        let key = text(key);
        if !self.has(&key)? {
            return Ok(None);
        }
        let (mut bytes, mut length) = (vec![0_u8; LONGEST], 0);
        // SAFETY: a live store; room for `LONGEST` bytes, of which `length` are filled.
        done(unsafe {
            var_store_get(self.0.as_ptr(), key.as_ptr(), bytes.as_mut_ptr(), bytes.len(), &mut length)
        })?;
        bytes.truncate(length);
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn has(&self, key: &CString) -> Result<bool> {
        let mut there = 0;
        // SAFETY: a live store, a string that outlives the call, and a place for one number.
        done(unsafe { var_store_check(self.0.as_ptr(), key.as_ptr(), &mut there) })?;
        Ok(there != 0)
    }

    /// Adds `amount` to the number under `key` (0 at first) and gives the sum.
    ///
    /// # Errors
    /// When the store is lost.
    pub(crate) fn add(&self, key: &str, amount: i64) -> Result<i64> {
        let (key, mut sum) = (text(key), 0);
        // SAFETY: a live store, a string that outlives the call, and a place for one number.
        done(unsafe { var_store_add(self.0.as_ptr(), key.as_ptr(), amount, &mut sum) })?;
        Ok(sum)
    }

    /// The handle for C++ that keeps a reference of its own.
    pub(super) fn handle(&self) -> *mut CStore {
        self.0.as_ptr()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: made by `new` on the C++ side, and unused after this.
        unsafe { var_store_free(self.0.as_ptr()) };
    }
}

/// Whole milliseconds for C++.
pub(super) fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// Work for the thread that owns a connection.
type Job = Box<dyn FnOnce(&Store) + Send>;

/// Calls to the store with a time limit. Another thread makes them, and stays behind when it gets no answer.
#[derive(Debug)]
pub(crate) struct Messages {
    jobs: Sender<Job>,
    patience: Duration,
    gone: AtomicBool,
}

impl Messages {
    /// Calls through `store` that fail after `patience`.
    pub(crate) fn new(store: Store, patience: Duration) -> Self {
        let (jobs, work) = channel::<Job>();
        std::thread::spawn(move || work.into_iter().for_each(|job| job(&store)));
        Self { jobs, patience, gone: AtomicBool::new(false) }
    }

    /// The answer of `call`.
    ///
    /// # Errors
    /// When the store is lost or does not answer in time. Then every later call fails at once.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let silent = || Error::Distributed("the store of the ranks does not answer".into());
        if self.gone.load(Ordering::Relaxed) {
            return Err(silent());
        }
        let (answer, receiver) = channel();
        let job: Job = Box::new(move |store| {
            // After the deadline nobody receives it.
            let _ = answer.send(call(store));
        });
        let outcome = match self.jobs.send(job) {
            Ok(()) => receiver.recv_timeout(self.patience).unwrap_or_else(|_| Err(silent())),
            Err(_) => Err(silent()),
        };
        if outcome.is_err() {
            self.gone.store(true, Ordering::Relaxed);
        }
        outcome
    }

    /// [`Store::set`].
    ///
    /// # Errors
    /// As [`Messages::ask`].
    pub(crate) fn set(&self, key: &str, value: &str) -> Result<()> {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.ask(move |store| store.set(&key, &value))
    }

    /// [`Store::get`].
    ///
    /// # Errors
    /// As [`Messages::ask`].
    pub(crate) fn get(&self, key: &str) -> Result<Option<String>> {
        let key = key.to_owned();
        self.ask(move |store| store.get(&key))
    }

    /// [`Store::add`].
    ///
    /// # Errors
    /// As [`Messages::ask`].
    pub(crate) fn add(&self, key: &str, amount: i64) -> Result<i64> {
        let key = key.to_owned();
        self.ask(move |store| store.add(&key, amount))
    }
}
