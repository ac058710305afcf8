//! Every text is either a web configuration or refused, and a parsed configuration has the same meaning after it is written
//! again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use secure_exporter_web_config::WebConfig;

fuzz_target!(|text: &str| {
    if let Ok(config) = WebConfig::parse(text) {
        let written = config.to_yaml();
        assert_eq!(WebConfig::parse(&written).as_ref(), Ok(&config), "{written}");
    }
});
