//! `netdev`: traffic counters of each network device.
//!
//! In the host's network namespace the kernel's own counters come over netlink. Elsewhere `/proc/net/dev` has sums of them,
//! which node_exporter's metric names are based on, and sysfs has the rest.

mod addresses;
mod counters;
mod from_files;
mod from_links;

use self::addresses::Addresses;
use self::counters::{SUMS, SUMS_NAMED_ANEW, View};
use self::from_files::Files;
use self::from_links::FromLinks;
use crate::collect::device_filter::{DeviceFilter, FilterFlags};
use crate::collect::skipped::Skipped;
use crate::collect::{
    BuildContext, BuildError, CollectError, Collector, CollectorSpec, OptionSpec,
};
use crate::exposition::Exposition;
use crate::sources::{Deadline, SharedLinks};

const FLAGS: FilterFlags = FilterFlags {
    exclude: "collector.netdev.device-exclude",
    include: "collector.netdev.device-include",
    former_exclude: Some("collector.netdev.device-blacklist"),
    former_include: Some("collector.netdev.device-whitelist"),
};

const ADDRESS_INFO: &str = "collector.netdev.address-info";
const DETAILED: &str = "collector.netdev.enable-detailed-metrics";
const LABEL_ALIAS: &str = "collector.netdev.label-ifalias";
const NETLINK: &str = "collector.netdev.netlink";

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "netdev",
    default_enabled: true,
    summary: "Traffic of each network device.",
    options: &[
        OptionSpec::pattern(
            FLAGS.exclude,
            "",
            "Regular expression of network devices to leave out.",
        ),
        OptionSpec::pattern(
            FLAGS.include,
            "",
            "Regular expression of network devices to show.",
        ),
        OptionSpec::switch(
            ADDRESS_INFO,
            "false",
            "Show the IP addresses of each device.",
        ),
        OptionSpec::switch(
            DETAILED,
            "false",
            "Show the kernel's own counters, under other names, instead of the sums in /proc/net/dev.",
        ),
        OptionSpec::switch(
            LABEL_ALIAS,
            "false",
            "Add the device's alias as the label ifalias.",
        ),
        OptionSpec::switch(
            NETLINK,
            "true",
            "Show all counters that netlink provides rather than only those of /proc/net/dev.",
        ),
        OptionSpec::former("collector.netdev.device-blacklist", FLAGS.exclude),
        OptionSpec::former("collector.netdev.device-whitelist", FLAGS.include),
    ],
    build,
};

struct Netdev {
    links: SharedLinks,
    from_links: FromLinks,
    files: Files,
    filter: DeviceFilter,
    view: View,
    label_alias: bool,
    addresses: Option<Addresses>,
}

fn build(context: &BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError> {
    let view = match (context.switch(NETLINK)?, context.switch(DETAILED)?) {
        (true, false) => View::Default,
        (true, true) => View::Details,
        (false, false) => View::File(&SUMS),
        (false, true) => View::File(&SUMS_NAMED_ANEW),
    };
    Ok(Box::new(Netdev {
        links: context.links(),
        from_links: FromLinks::default(),
        files: Files::new(context.procfs(from_files::FILE), context.sysfs("class/net")),
        filter: DeviceFilter::from_flags(context, FLAGS)?,
        view,
        label_alias: context.switch(LABEL_ALIAS)?,
        addresses: context.switch(ADDRESS_INFO)?.then(Addresses::default),
    }))
}

impl Collector for Netdev {
    fn collect(&mut self, out: &mut Exposition, deadline: Deadline) -> Result<(), CollectError> {
        let mut skipped = Skipped::default();
        let links = match self.view {
            View::File(_) => None,
            View::Default | View::Details => self.links.read_instead_of_files(deadline)?,
        };
        let (filter, alias) = (&self.filter, self.label_alias);
        match links {
            Some(links) => self.from_links.write(&links, filter, self.view, alias, out),
            None => (self.files).collect(filter, self.view, alias, &mut skipped, out)?,
        }
        if let Some(addresses) = &mut self.addresses {
            skipped.part(addresses.collect(&self.filter, out, deadline));
        }
        skipped.result()
    }
}
