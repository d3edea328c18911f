//! `WARDEN_LOG_LEVEL`: a level, or levels by module.

use tracing_subscriber::filter::{LevelFilter, Targets};

/// Reads `info`, or `info,h2=warn`: what is logged from which level on, by module.
///
/// A word alone must be a level: as the name of a module, which it may be elsewhere, `verbose` would mean no log at all.
///
/// # Errors
/// Says which part is none.
pub fn parse(text: &str) -> Result<Targets, String> {
    // Nothing would be read as `error`.
    let is_level = |part: &str| !part.is_empty() && part.parse::<LevelFilter>().is_ok();
    let is_good = |part: &str| match part.split_once('=') {
        Some((module, level)) => !module.is_empty() && is_level(level),
        None => is_level(part),
    };
    if let Some(word) = text.split(',').map(str::trim).find(|part| !is_good(part)) {
        return Err(format!("{word:?} is no level"));
    }
    text.parse::<Targets>().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn a_level_alone_is_for_every_module() {
        let filter = parse("info").unwrap();
        assert!(filter.would_enable("temporal_warden::app", &Level::INFO));
        assert!(!filter.would_enable("h2::proto", &Level::DEBUG));
    }

    #[test]
    fn a_module_has_a_level_of_its_own_the_last_one_said() {
        let filter = parse("h2=warn, info,temporal_warden::gateway=debug,h2=off").unwrap();
        assert!(filter.would_enable("temporal_warden::gateway::probe", &Level::DEBUG));
        assert!(!filter.would_enable("temporal_warden::app", &Level::DEBUG));
        assert!(!filter.would_enable("h2", &Level::ERROR));
    }

    #[test]
    fn a_word_that_is_no_level_is_refused_and_named() {
        assert_eq!(parse("verbose").unwrap_err(), "\"verbose\" is no level");
        assert_eq!(parse("info,,h2=warn").unwrap_err(), "\"\" is no level");
        for half in ["h2=loud", "h2=", "=warn", "="] {
            assert_eq!(parse(half).unwrap_err(), format!("{half:?} is no level"));
        }
    }
}
