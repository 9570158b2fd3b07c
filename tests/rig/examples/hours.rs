//! Plays so many hours (1,000) of random operation and says what has happened: `cargo run --release -p wattle-rig --example
//! hours -- 1000`. The benchmark `control` does the same. `-- site 42` plays one of its sites alone.

use wattle_rig::hours;

/// The same sites each time.
const SEED: u64 = 1;

fn main() {
    let said: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| said.get(at).and_then(|number| number.parse().ok());
    let played = match said.first().map(String::as_str) {
        Some("site") => hours::play_one(SEED, number(1).unwrap_or(0)),
        _ => {
            let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get());
            hours::play(number(0).unwrap_or(1_000) as i64, SEED, threads)
        }
    };
    println!("{played:#?}");
}
