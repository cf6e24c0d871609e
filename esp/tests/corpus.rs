//! Replays the fuzz corpus of `esp_open`: its file names say what must come of each seed.

#[path = "../../fuzz/fuzz_targets/esp_open_input.rs"]
mod esp_open_input;

use std::path::Path;

#[test]
fn every_seed_of_the_corpus_ends_as_its_name_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/esp_open");
    let mut seeds = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let input = std::fs::read(&path).unwrap();
        let outcome = match esp_open_input::open(&input) {
            None => "no_packet",
            Some(Ok(_)) => "opened",
            Some(Err(reason)) => reason.label(),
        };
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // What the fuzzer has found and named by its hash has only to be survived.
        if let Some((expected, _)) = name.split_once('-') {
            assert_eq!(outcome, expected, "{name}");
        }
        seeds += 1;
    }
    assert!(seeds >= 20, "{seeds} seeds in {}", folder.display());
}
