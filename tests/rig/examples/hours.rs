//! Plays so many hours (1,000) of random operation and says what has happened: `cargo run --release -p wattle-rig --example
//! hours -- 1000`. The benchmark `control` does the same.

fn main() {
    let hours = std::env::args().nth(1).and_then(|hours| hours.parse().ok()).unwrap_or(1_000);
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get());
    let played = wattle_rig::hours::play(hours, 1, threads);
    println!("{played:#?}");
}
