//! `[serve] shard`, and where in the store a server of it keeps its checkpoint.

use super::ConfigError;
use super::file::ServeSection;
use super::resolve::Place;

/// What stands for a server without a shard.
const NO_SHARD: &str = "default";

/// The shard, and the path of the checkpoint: one of its own for every shard, so that those of one store do not overwrite each
/// other's. Servers of one shard share it: they have seen the same.
pub(super) fn shard(place: &Place<'_>, section: &ServeSection) -> Result<(String, String), ConfigError> {
    let shard = section.shard.clone();
    let wrong = |what: String| place.wrong("serve", 0, "shard", what);
    // It becomes part of a path.
    if !shard.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
        return Err(wrong(format!("wanted letters, digits, - and _, got {shard:?}")));
    }
    let checkpoint = match &section.checkpoint {
        Some(path) => path.clone(),
        None if shard == NO_SHARD => {
            let what = format!("the checkpoint of servers without a shard has the name {NO_SHARD:?}: take another");
            return Err(wrong(what));
        }
        None => format!("serving/{}.checkpoint", if shard.is_empty() { NO_SHARD } else { &shard }),
    };
    Ok((shard, checkpoint))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Config, Serve};

    fn serve(text: &str, environment: &[(&str, &str)]) -> Result<Serve, String> {
        let environment: Vec<_> = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let config = Config::from_text(Path::new("/f.toml"), text, &environment).map_err(|e| e.to_string())?;
        Ok(config.serve)
    }

    #[test]
    fn shards_of_one_store_keep_their_checkpoints_apart() {
        let checkpoint = |text: &str| serve(text, &[]).unwrap().checkpoint;
        assert_eq!(checkpoint(""), "serving/default.checkpoint");
        assert_eq!(checkpoint("[serve]\nshard = \"0\"\n"), "serving/0.checkpoint");
        assert_eq!(checkpoint("[serve]\nshard = \"eu-1\"\n"), "serving/eu-1.checkpoint");
        assert_eq!(checkpoint("[serve]\nshard = \"0\"\ncheckpoint = \"here\"\n"), "here");
        let of_a_pod = serve("", &[("FOREWARN_SERVE_SHARD", "1")]).unwrap();
        assert_eq!((of_a_pod.shard.as_str(), of_a_pod.checkpoint.as_str()), ("1", "serving/1.checkpoint"));
    }

    #[test]
    fn a_shard_whose_checkpoint_would_be_another_ones_is_refused() {
        let refused = |shard: &str| serve(&format!("[serve]\nshard = \"{shard}\"\n"), &[]).unwrap_err();
        assert!(
            refused("a/../b").contains("/f.toml:2: [serve] shard: wanted letters, digits, - and _, got \"a/../b\"")
        );
        assert!(refused("default").contains("the checkpoint of servers without a shard has the name \"default\""));
        assert!(serve("[serve]\nshard = \"default\"\ncheckpoint = \"serving/mine.checkpoint\"\n", &[]).is_ok());
    }
}
