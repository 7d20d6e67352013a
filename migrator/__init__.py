"""Gets the files out of an issue tracker: bulk backup into an archive, and replay into another tracker.

The map: what each module or package may import of the others. `tests/test_house.py` holds the code to it.

    model, errors, dates, progress <- nothing
    sniffing, filenames, units     <- nothing
    ports, selection, mapping      <- model, errors
    store                          <- model, errors, dates, units
    config                         <- errors, filenames, units, mapping
    wire                           <- model, errors, ports, sniffing, units
    layers, trackers               <- model, errors, ports, wire
    pipeline                       <- model, errors, dates, filenames, units, ports, progress, selection, mapping, store
    sandbox                        <- nothing
    jobs                           <- everything

- `model` has the words as types, `errors` what can go wrong, `ports` the interface between trackers and jobs.
- `units` reads and writes quantities: sizes, rates, durations, shares.
- `wire` speaks HTTP to one tracker: a request becomes an answer or one of our errors.
- `trackers` holds a package for each tracker, and the toolbox that they share.
- `layers` is behaviour around any tracker: retries, checks of what came, a dry run.
- `store` is an archive on disk: blobs, catalog, journal, lock. Nothing above opens a file of it.
- `mapping` says which target entity each source entity becomes; `config` reads the TOML file.
- `pipeline` has the jobs as stories, `jobs` the commands around them; here it is a link to the folder beside this one.
- `sandbox` has embedded trackers for demo and tests: they know nothing of the rest, and must not.

Read in this order: `ports`, `pipeline.backup`, `trackers.memory`, `trackers.redmine`, `layers.retry`, `store.catalog`.
"""

__version__ = "0.1.0"
