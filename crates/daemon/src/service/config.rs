//! The configuration: applied at the start, reloaded, compared, and saved.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use super::problem::{no_device, plain, storage_error};
use super::{Ownership, Service};
use crate::ServiceError;
use crate::record_store::Reservation;
use crate::store::SavedState;
use umacvlan_api::{Code, EventKind, Problem};
use umacvlan_config::{Config, LoadError, OnExit, Plan, Running, SavedConfig, Step};
use umacvlan_config::{execute, plan, replace, running_config};
use umacvlan_engine::cpus;

/// How long a link waits until its namespace is looked for again.
const AGAIN: Duration = Duration::from_secs(1);

impl Service {
    /// Applies the configuration that the service was started with. A step that fails is logged, so
    /// that the daemon serves what it can. `saved` has the configuration that a former daemon has
    /// applied.
    ///
    /// # Errors The engine does not respond.
    pub fn apply_config(&mut self, saved: &SavedState) -> Result<(), ServiceError> {
        let wanted = std::mem::replace(&mut self.config, saved.applied());
        let wanted = match self.is_lost(&wanted) {
            true => self.config.clone(),
            false => wanted,
        };
        for name in wanted.parents.keys() {
            if let Err(problem) = self.attach_configured(name, wanted.parent(name), true) {
                tracing::error!("parent {name}: {problem}");
            }
        }
        self.warn_of_renamed(&wanted);
        let plan = self.plan(&wanted);
        // Links are made with the settings of this configuration's parents.
        self.config = wanted.clone();
        for step in &plan?.steps {
            match (self.execute_step(step), step) {
                (Ok(()), _) => tracing::info!("configuration: {step}"),
                (Err(problem), Step::AddLink { key, .. }) if is_without_namespace(&problem) => {
                    tracing::warn!("link {key} waits for its namespace: {problem}");
                    self.without_namespace.insert(key.clone());
                }
                (Err(problem), _) => tracing::error!("configuration: {step}: {problem}"),
            }
        }
        self.save_applied(wanted);
        self.sync_hosts();
        Ok(())
    }

    /// True if there is no configuration file, and a former daemon has applied one that was not
    /// empty. Its disappearance is no wish to remove all links; an empty file is.
    fn is_lost(&self, wanted: &Config) -> bool {
        let applied = &self.config;
        let had = !applied.links.is_empty() || !applied.parents.is_empty();
        let lost = had && *wanted == Config::default() && !self.config_file.exists();
        if lost {
            tracing::warn!(
                "there is no {}: the configuration that was applied last, with {} links, stays. \
                 `umacvlan config save` writes it again; an empty file removes the links",
                self.config_file.display(),
                applied.links.len()
            );
        }
        lost
    }

    /// Makes the links that the applied configuration has and that do not exist. A step that fails
    /// is logged.
    ///
    /// # Errors The engine does not respond.
    pub(super) fn complete_config(&mut self) -> Result<(), ServiceError> {
        let wanted = self.config.clone();
        for step in &self.plan(&wanted)?.steps {
            if let Step::AddLink { key, .. } = step
                && !self.waits(key)
            {
                match self.execute_step(step) {
                    Ok(()) => tracing::info!("configuration: {step}"),
                    Err(problem) => tracing::error!("configuration: {step}: {problem}"),
                }
            }
        }
        Ok(())
    }

    /// Makes the links of the configuration whose namespaces were not there and are now, if it is time.
    /// Returns the time until the next attempt; `None` if no link waits for that.
    pub(super) fn find_namespaces(&mut self) -> Option<Duration> {
        if self.without_namespace.is_empty() {
            return None;
        }
        let now = Instant::now();
        let next = self.next_namespaces.get_or_insert(now + AGAIN);
        if now < *next {
            return Some(*next - now);
        }
        *next = now + AGAIN;
        let before = std::mem::take(&mut self.without_namespace);
        // The configuration may have changed, and a link may exist by now.
        let steps = self.plan(&self.config.clone()).map(|plan| plan.steps).unwrap_or_default();
        for step in &steps {
            let Step::AddLink { key, .. } = step else { continue };
            if !before.contains(key) {
                continue;
            }
            match self.execute_step(step) {
                Ok(()) => tracing::info!("configuration: {step}"),
                Err(problem) if is_without_namespace(&problem) => {
                    self.without_namespace.insert(key.clone());
                }
                Err(problem) => tracing::error!("configuration: {step}: {problem}"),
            }
        }
        (!self.without_namespace.is_empty()).then_some(AGAIN)
    }

    /// True if the link of this entry waits to be found.
    fn waits(&self, key: &str) -> bool {
        self.waiting.iter().any(|one| one.record.config.as_deref() == Some(key))
    }

    /// The configuration of what runs, as TOML.
    pub(crate) fn running_config(&mut self) -> Result<String, ServiceError> {
        Ok(self.running()?.to_toml())
    }

    /// Reads the configuration file again and carries out what has changed in it. Returns one line
    /// for each change.
    ///
    /// # Errors The file is invalid, or a step fails; all steps before it are undone.
    pub fn reload(&mut self) -> Result<Vec<String>, ServiceError> {
        let wanted = self.load()?;
        let plan = self.plan(&wanted)?;
        let room = self.store.reserve_config(&wanted.to_toml()).map_err(not_saved)?;
        // Parents are attached with the settings of the new configuration.
        let before = std::mem::replace(&mut self.config, wanted.clone());
        let done = execute(&plan.steps, |step| {
            self.execute_step(step).map_err(|ServiceError(problem)| problem)
        });
        if let Err(problem) = done {
            self.config = before;
            return Err(problem.into());
        }
        self.save_applied_in(room, wanted);
        let lines = plan.lines();
        lines.iter().for_each(|line| tracing::info!("configuration: {line}"));
        self.publish(EventKind::Reloaded { changes: plan.steps.len() });
        Ok(lines)
    }

    /// The changes that a reload of the file, or of `text` in its place, would make: one line each.
    pub(crate) fn diff(&mut self, text: Option<&str>) -> Result<Vec<String>, ServiceError> {
        let wanted = match text {
            Some(text) => {
                let parsed = Config::parse("the text", text, &cpus::allowed());
                parsed.map_err(LoadError::Wrong)?.config
            }
            None => self.load()?,
        };
        Ok(self.plan(&wanted)?.lines())
    }

    /// Writes the running configuration to the file, atomically. Returns the file's path.
    ///
    /// # Errors The file cannot be written, or, without `force`, it has changes that were not applied.
    pub(crate) fn save(&mut self, force: bool) -> Result<String, ServiceError> {
        if !force {
            self.check_applied()?;
        }
        let saved = self.running()?;
        let file = self.config_file.display().to_string();
        let text = saved.to_toml();
        let room = self.store.reserve_config(&saved.config.to_toml()).map_err(not_saved)?;
        let entries = self.reserve_entries(&saved.entries)?;
        let directory = self.config_file.parent().map_or(Ok(()), fs::create_dir_all);
        let written = directory.and_then(|()| replace(&self.config_file, &text));
        written.map_err(|error| {
            let message = format!("cannot write {file}: {error}");
            let problem = plain(Code::Storage, message).0;
            ServiceError(Problem { errno: error.raw_os_error(), ..problem })
        })?;
        self.assign_entries(entries)?;
        self.save_applied_in(room, saved.config);
        tracing::info!("configuration saved to {file}");
        Ok(file)
    }

    /// Refuses a file that has other content than what was applied last, which would be lost.
    fn check_applied(&self) -> Result<(), ServiceError> {
        let file = self.config_file.display().to_string();
        let why = match Config::load(&file, &cpus::allowed()) {
            Ok(parsed) if parsed.config == self.config => return Ok(()),
            Ok(_) => "was changed since the daemon has read it".to_owned(),
            Err(LoadError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(());
            }
            Err(_) => "has mistakes (umacvlan config check)".to_owned(),
        };
        let message = format!(
            "{file} {why}, and what it says would be lost: umacvlan config diff shows it, config \
             reload applies it, and config save --force overwrites it"
        );
        Err(plain(Code::Refused, message))
    }

    /// What happens to the links when the daemon ends.
    pub const fn on_exit(&self) -> OnExit {
        self.config.daemon.on_exit
    }

    /// Reads the file. A file that never existed is empty. A file that has disappeared is an error,
    /// so that losing it does not remove all links.
    fn load(&self) -> Result<Config, ServiceError> {
        let file = self.config_file.display().to_string();
        match Config::load(&file, &cpus::allowed()) {
            Ok(parsed) => {
                parsed.warnings.lines().for_each(|line| tracing::warn!("{line}"));
                Ok(parsed.config)
            }
            Err(LoadError::Read { source, .. })
                if source.kind() == io::ErrorKind::NotFound && self.config == Config::default() =>
            {
                Ok(Config::default())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn plan(&mut self, wanted: &Config) -> Result<Plan, ServiceError> {
        let running = Running::new(&self.links(None, None)?, &self.parents()?);
        Ok(plan(&self.config, wanted, &running))
    }

    fn running(&mut self) -> Result<SavedConfig, ServiceError> {
        let (links, parents) = (self.links(None, None)?, self.parents()?);
        Ok(running_config(&self.config, &links, &parents))
    }

    /// Carries out one step of a plan.
    fn execute_step(&mut self, step: &Step) -> Result<(), ServiceError> {
        match step {
            Step::AttachParent { name, settings } => {
                self.attach_configured(name, settings.clone(), false)
            }
            Step::DetachParent { name, .. } => {
                self.check_removable(name)?;
                self.unconfigure(name);
                Ok(())
            }
            // It is made when it is known that it does not exist.
            Step::AddLink { key, .. } if self.waits(key) => Ok(()),
            Step::AddLink { key, name, spec } => {
                let ownership = Ownership { config: Some(key.clone()), owner: None };
                self.add(name, spec, None, ownership).map(drop)
            }
            Step::RemoveLink { key, .. } => {
                let id = self.link_of_entry(key)?;
                self.remove(id)
            }
            Step::ChangeLink { key, change, .. } => {
                let id = self.link_of_entry(key)?;
                self.change(id, change, None)
            }
            Step::Log { to, .. } => self.set_log(to.as_deref()),
            // Read when the daemon ends.
            Step::OnExit { .. } => Ok(()),
        }
    }

    fn link_of_entry(&self, key: &str) -> Result<u64, ServiceError> {
        let found = self.links.iter().find(|(_, link)| link.config.as_deref() == Some(key));
        found.map(|(&id, _)| id).ok_or_else(|| no_device(key, format!("link {key} is gone")))
    }

    fn set_log(&self, filter: Option<&str>) -> Result<(), ServiceError> {
        let Some((log, default)) = &self.log else {
            return Ok(());
        };
        log.set(filter.unwrap_or(default))
            .map_err(|error| plain(Code::Config, umacvlan_text::output::one_line(&error)))
    }

    /// Saves the configuration that was applied, to be compared with the next one, also by the next
    /// daemon.
    fn save_applied(&mut self, config: Config) {
        if let Err(error) = self.store.put_config(&config.to_toml()) {
            tracing::error!("{}", not_saved(error));
        }
        self.config = config;
    }

    /// As [`Self::save_applied`], in the room that was reserved.
    fn save_applied_in(&mut self, room: Reservation, config: Config) {
        if let Err(error) = room.write(&config.to_toml()) {
            tracing::error!("{}", not_saved(error));
        }
        self.config = config;
    }

    /// Takes the room for the records of the links that were made by request, and that entries
    /// describe now.
    fn reserve_entries(
        &self,
        entries: &[(u64, String)],
    ) -> Result<Vec<(u64, String, Reservation)>, ServiceError> {
        let mut rooms = Vec::new();
        for (id, key) in entries {
            if let Some(link) = self.links.get(id).filter(|link| link.config.is_none()) {
                let room = self.store.reserve_link(&link.record(), key.len());
                let room = room.map_err(|error| storage_error(key, &error))?;
                rooms.push((*id, key.clone(), room));
            }
        }
        Ok(rooms)
    }

    /// Assigns links to the entries that describe them now.
    fn assign_entries(
        &mut self,
        entries: Vec<(u64, String, Reservation)>,
    ) -> Result<(), ServiceError> {
        for (id, key, room) in entries {
            if let Some(link) = self.links.get_mut(&id) {
                link.config = Some(key.clone());
                room.write(&link.record()).map_err(|error| storage_error(&key, &error))?;
            }
        }
        Ok(())
    }
}

/// Whether a link was not made because its namespace is not there.
fn is_without_namespace(problem: &ServiceError) -> bool {
    problem.0.code == Code::NoNamespace
}

/// The configuration that was applied cannot be written down.
fn not_saved(error: io::Error) -> ServiceError {
    storage_error("the configuration", &error)
}
