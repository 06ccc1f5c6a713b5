//! Progressive training through the command line: stages in the log, the loss of a stage, all scales at the end.

use serde_json::Value;

use super::fixture::Fixture;

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn scales_join_along_the_run_and_validation_is_over_all_of_them() {
    let fixture = Fixture::new();
    let settings = ["--set", "steps=40", "--set", "progressive=0.8", "--set", "progressive_first=0"];
    let more = ["--set", "progressive_warmup=5", "--set", "validate_every=10", "--set", "warmup=4"];
    assert!(fixture.model("run").args(settings).args(more).status().unwrap().success());
    let all = lines(&std::fs::read_to_string(fixture.path("run/metrics.jsonl")).unwrap());
    let of = |kind: &str| all.iter().filter(|line| line["kind"] == kind).collect::<Vec<_>>();
    let scales: Vec<u64> = of("train").iter().map(|line| line["scales"].as_u64().unwrap()).collect();
    assert_eq!(scales.len(), 40);
    assert!(scales.is_sorted() && scales[0] == 1 && scales[39] == 3 && scales.contains(&2), "{scales:?}");
    let tokens = [1.0, 4.0, 16.0];
    for line in of("train") {
        let (count, newest) =
            (line["scales"].as_u64().unwrap() as usize, line["newest_weight"].as_f64().unwrap());
        let by_scale = line["loss_per_scale"].as_array().unwrap();
        assert_eq!(by_scale.len(), count);
        // Weighted, and divided by all tokens whatever the stage.
        let sum: f64 = by_scale.iter().zip(tokens).map(|(loss, l)| loss.as_f64().unwrap() * l).sum();
        let last = by_scale[count - 1].as_f64().unwrap() * tokens[count - 1];
        let expected = (sum - (1.0 - newest) * last) / 21.0;
        assert!((line["loss"].as_f64().unwrap() - expected).abs() < 1e-6, "{line}");
        assert_eq!(line.get("loss_last").is_some(), count == 3, "{line}");
    }
    assert!(of("train").iter().any(|line| line["newest_weight"].as_f64().unwrap() < 1.0));
    for line in of("val") {
        assert_eq!(line["loss_per_scale"].as_array().unwrap().len(), 3);
        assert!(line["loss_last"].is_f64());
    }
    // The published schedule comes with it, and is written down.
    let config = std::fs::read_to_string(fixture.path("run/config.toml")).unwrap();
    assert!(config.contains("shape = \"lin0.8\""), "{config}");
}

#[test]
fn a_first_scale_that_the_tokens_do_not_have_is_refused_before_anything_is_written() {
    let fixture = Fixture::new();
    let output = fixture.model("run").args(["--set", "progressive=0.5"]).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).to_string();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("model.progressive_first = 4") && message.contains("3 scales"), "{message}");
    assert!(!fixture.path("run").exists());
}
