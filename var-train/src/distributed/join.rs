//! How ranks meet: at one store, every number once, with the same settings. Then they connect.

use std::net::{IpAddr, ToSocketAddrs, UdpSocket};
use std::sync::mpsc::channel;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::ffi;
use super::group::Group;
use super::heartbeat::Heartbeat;
use super::nccl;
use super::place::Place;
use super::store::{Messages, Store};
use crate::error::{Error, Result};

/// A store that takes longer to answer is lost.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time that rank 0 keeps its store after it refused to start, so that the others learn the reason.
const FAREWELL: Duration = Duration::from_millis(1500);
/// Longest time to resolve a host name: a machine that is starting may register late.
const LOOKUP: Duration = Duration::from_secs(5);
/// Time to tell the others that this rank does not come.
const REFUSAL: Duration = Duration::from_secs(5);
/// Time that NCCL waits longer than the other collectives.
const NCCL_LATER: Duration = Duration::from_secs(60);
/// Key of the reason why the ranks must not start.
const REFUSED: &str = "refused";

/// What a rank tells about itself.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Hello {
    world: usize,
    /// The settings, the same on all ranks.
    settings: String,
    /// The address at which others reach it; `None` leaves it to `GLOO_SOCKET_IFNAME`.
    address: Option<IpAddr>,
}

/// The connections of a rank once all ranks have met.
pub(super) struct Joined {
    pub messages: Messages,
    pub heartbeat: Heartbeat,
    pub group: Group,
    /// A connection to watch the others, with NCCL only.
    pub watched: Option<Messages>,
}

/// Connects `place` with the other ranks within `timeout`, after checking that all have the same `settings`. With `gpu` it
/// also connects the GPU of that number. A later collective may take `timeout` at most.
///
/// # Errors
/// [`Error::config`] when the ranks do not fit together (a number twice, other sizes of the world, other
/// settings, the port taken); [`Error::Distributed`] when some do not come.
pub(super) fn join(place: &Place, settings: &str, gpu: Option<usize>, timeout: Duration) -> Result<Joined> {
    ffi::quiet();
    let (store, until) = (open(place, timeout)?, Instant::now() + timeout);
    let prefix = format!("var/{}", place.attempt);
    let messages = Messages::new(store.under(&prefix)?, PATIENCE);
    let hello =
        Hello { world: place.world, settings: settings.to_owned(), address: own_address(place, &store) };
    if let Err(e) = meet(place, &hello, &messages, until) {
        if let Error::Core(var_tokenizer::Error::Config(message)) = &e {
            // If this fails, the others run into their timeout and tell it.
            let _ = messages.set(REFUSED, message);
        }
        if place.rank == 0 && !place.hosted {
            sleep(FAREWELL);
        }
        return Err(e);
    }
    let heartbeat = Heartbeat::start(store.another()?.under(&prefix)?, place.rank);
    let address = hello.address.map(|address| address.to_string());
    let meeting = store.another()?.under(&format!("{prefix}/gloo"))?;
    let group = Group::gloo(&meeting, place.rank, place.world, address.as_deref(), timeout)
        .map_err(|e| Error::Distributed(format!("the ranks cannot connect to each other: {e}")))?;
    let mut watched = None;
    if let Some(gpu) = gpu {
        let meeting = store.another()?.under(&format!("{prefix}/nccl"))?;
        // Later than the guard and the collectives of Gloo: NCCL ends the process and names nobody.
        nccl::join(&group, &meeting, (place.rank, place.world), gpu, timeout + NCCL_LATER)?;
        watched = Some(Messages::new(store.another()?.under(&prefix)?, PATIENCE));
    }
    Ok(Joined { messages, heartbeat, group, watched })
}

/// Tells the other ranks that this one refuses to start, because of `reason`, if it can reach them.
pub(crate) fn refuse(place: &Place, reason: &Error) {
    super::ending::mark(place.rank);
    ffi::quiet();
    let told = || {
        let store = open(place, REFUSAL)?;
        let messages = Messages::new(store.another()?.under(&format!("var/{}", place.attempt))?, PATIENCE);
        messages.set(REFUSED, &format!("rank {}: {reason}", place.rank))?;
        Ok::<Store, Error>(store)
    };
    // A rank that is not told waits for this one, and names it.
    if told().is_ok() && place.rank == 0 && !place.hosted {
        sleep(FAREWELL);
    }
}

/// Checks that the address where the ranks meet can be resolved.
fn look_up(place: &Place) -> Result<()> {
    let (sender, receiver) = channel();
    let (name, port, until) = (place.address.clone(), place.port, Instant::now() + LOOKUP);
    // A name server that does not answer would block for too long.
    std::thread::spawn(move || {
        loop {
            let found = (name.as_str(), port).to_socket_addrs().map(|_| ());
            if found.is_ok() || Instant::now() >= until {
                return drop(sender.send(found));
            }
            sleep(Duration::from_millis(200));
        }
    });
    let reason = match receiver.recv_timeout(LOOKUP * 2) {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(e)) => e.to_string(),
        Err(_) => "no name server answers".to_owned(),
    };
    Err(Error::config(format!(
        "rank {}: MASTER_ADDR is '{}', which is the name of no machine ({reason}); set it to the host name or the IP \
         address of the machine of rank 0, as this machine knows it",
        place.rank, place.address
    )))
}

/// The store: served by rank 0, unless another program serves it.
fn open(place: &Place, timeout: Duration) -> Result<Store> {
    look_up(place)?;
    let (address, port) = (&place.address, place.port);
    if place.rank == 0 && !place.hosted {
        return Store::serve(address, port, timeout).map_err(|e| {
            let text = e.to_string();
            if text.contains("EADDRINUSE") || text.contains("failed to listen") {
                Error::config(format!(
                    "port {port} is taken, by another run or by a second rank 0; choose another MASTER_PORT"
                ))
            } else {
                Error::Distributed(format!("rank 0 cannot serve the store at {address}:{port}: {text}"))
            }
        });
    }
    // c10d limits the time to connect, not the time of the first answer: another service on the port may never answer.
    let (sender, receiver) = channel();
    let host = address.clone();
    std::thread::spawn(move || {
        // After the deadline nobody receives it.
        let _ = sender.send(Store::connect(&host, port, timeout));
    });
    let silent = || Error::Distributed("something listens there that is no store".into());
    receiver.recv_timeout(timeout * 2).unwrap_or_else(|_| Err(silent())).map_err(|e| {
        let who = if place.hosted { "the program that started the ranks" } else { "rank 0" };
        Error::Distributed(format!(
            "rank {} finds no store at {address}:{port} within {} s: is {who} running, and reachable by \
             MASTER_ADDR and MASTER_PORT? ({e})",
            place.rank,
            timeout.as_secs()
        ))
    })
}

/// The address of this machine that faces the store.
fn own_address(place: &Place, store: &Store) -> Option<IpAddr> {
    if std::env::var_os("GLOO_SOCKET_IFNAME").is_some() {
        return None;
    }
    // Connecting a datagram socket sends nothing; it only asks the routing table.
    ["0.0.0.0:0", "[::]:0"].into_iter().find_map(|any| {
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect((place.address.as_str(), store.port())).ok()?;
        Some(socket.local_addr().ok()?.ip())
    })
}

/// Tells the other ranks about this one, waits for all of them, and compares.
fn meet(place: &Place, own: &Hello, messages: &Messages, until: Instant) -> Result<()> {
    if messages.add(&format!("taken/{}", place.rank), 1)? > 1 {
        return Err(Error::config(format!(
            "two processes have rank {}; give every process its own RANK",
            place.rank
        )));
    }
    let text = serde_json::to_string(own).map_err(|e| Error::config(e.to_string()))?;
    messages.set(&format!("hello/{}", place.rank), &text)?;
    let mut hellos: Vec<Option<Hello>> = (0..place.world).map(|_| None).collect();
    loop {
        if let Some(message) = messages.get(REFUSED)? {
            return Err(Error::config(message));
        }
        for (rank, hello) in hellos.iter_mut().enumerate().filter(|(_, hello)| hello.is_none()) {
            *hello =
                messages.get(&format!("hello/{rank}"))?.and_then(|text| serde_json::from_str(&text).ok());
            if let Some(hello) = hello {
                compare(place.rank, own, rank, hello)?;
            }
        }
        let missing: Vec<usize> =
            hellos.iter().enumerate().filter(|(_, hello)| hello.is_none()).map(|(rank, _)| rank).collect();
        if missing.is_empty() {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(Error::Distributed(format!(
                "{} of {} did not come in time; start every rank (in a SLURM batch script with srun), or give \
                 a longer timeout",
                names(&missing),
                place.world
            )));
        }
        sleep(Duration::from_millis(20));
    }
}

fn compare(rank: usize, own: &Hello, other_rank: usize, other: &Hello) -> Result<()> {
    if own.world != other.world {
        return Err(Error::config(format!(
            "rank {rank} counts {} ranks and rank {other_rank} counts {}; give all the same WORLD_SIZE",
            own.world, other.world
        )));
    }
    if own.settings != other.settings {
        return Err(Error::config(format!(
            "ranks {rank} and {other_rank} were started with other settings; give all ranks the same flags and files"
        )));
    }
    let local = |hello: &Hello| hello.address.map(|address| address.is_loopback());
    if local(own).is_some_and(|own| local(other).is_some_and(|other| own != other)) {
        return Err(Error::config(format!(
            "of ranks {rank} and {other_rank} one is reachable from its own machine only; set \
             GLOO_SOCKET_IFNAME to the network interface that connects the machines"
        )));
    }
    Ok(())
}

/// `rank 2`, `ranks 0, 2`.
pub(super) fn names(ranks: &[usize]) -> String {
    let list: Vec<String> = ranks.iter().map(ToString::to_string).collect();
    format!("rank{} {}", if ranks.len() == 1 { "" } else { "s" }, list.join(", "))
}
