//! `landfall user set`.

use clap::Args;
use landfall_auth::{Change, Kind};

use super::super::Usage;
use super::super::context::Context;
use super::super::limits::{LimitFlags, Setting, list};
use super::super::output;
use super::refuse_declared;
use crate::config::Moment;

const EXAMPLES: &str = "\
Examples:
  landfall user set acme --quota-bytes 10GB --overwrite version
  landfall user set acme --quota-bytes none --expires none
  landfall user set acme --network 192.0.2.0/24,2001:db8::/32";

/// Change a supplier; what is not named stays as it is.
///
/// A limit of `none` is the supplier's own and wins over its groups; `default` leaves it to them, then to [defaults].
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Set {
    /// Login name.
    name: String,
    /// Address for people; none takes it away.
    #[arg(long)]
    email: Option<Setting<String>>,
    /// Directory on the storage that is this supplier's root. Files stay where they are.
    #[arg(long, value_name = "DIR")]
    home: Option<String>,
    /// Groups, all of them; none takes the supplier out of all.
    #[arg(long = "group", value_name = "G", value_delimiter = ',')]
    groups: Vec<Setting<String>>,
    /// No login from then on; none takes the end away.
    #[arg(long, value_name = "DATE")]
    expires: Option<Setting<Moment>>,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    limits: LimitFlags,
}

impl Set {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let Self { name, email, home, groups, expires, limits, json } = self;
        let groups = list("group", groups)?.map(|setting| setting.into_option().unwrap_or_default());
        if email.is_none() && home.is_none() && groups.is_none() && expires.is_none() && limits.is_empty() {
            return Err(
                Usage("nothing to change: name at least one flag, such as --quota-bytes 10GB".to_owned()).into()
            );
        }
        let user = context.with_existing(Kind::User, &name, async |loaded, users| {
            refuse_declared(&loaded, &name)?;
            let known = users.list_groups().await?;
            let unknown = |group: &&String| !known.iter().any(|known| known.name == **group);
            if let Some(group) = groups.iter().flatten().find(unknown) {
                anyhow::bail!("there is no group \"{group}\"; add it first: landfall group add {group}");
            }
            let mut grant = users.get(&name).await?.grant;
            let untouched = limits.is_empty();
            limits.apply(&mut grant)?;
            let change = Change {
                home,
                email: email.map(Setting::into_option),
                grant: (!untouched).then_some(grant),
                groups,
                expires: expires.map(|setting| setting.into_option().map(|moment| moment.0)),
                disabled: None,
            };
            Ok(users.update(&name, change).await?)
        })?;
        if json {
            output::json(&super::show::Shown::from(user))
        } else {
            Ok(output::line(&format!("user {} changed", user.name))?)
        }
    }
}
