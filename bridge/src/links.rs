//! Where a file really is. Root follows no link that somebody else made: whoever may write into a directory could lead root
//! anywhere with one.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::ffi::OsStringExt,
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{FileType, Mode, OFlags, fstat, open, readlinkat},
    io::Errno,
};

/// Most links that are followed for one file, as the kernel does.
const MOST: usize = 40;

/// Where the file itself is, behind all links.
///
/// # Errors
/// There is none, or root would have to follow a link of somebody else. How the directory that the path names is reached does
/// not matter: whoever names it knows.
pub(crate) fn real_path(path: &Path) -> io::Result<PathBuf> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut place = fs::canonicalize(parent)?;
    let mut rest = vec![path.file_name().ok_or(Errno::INVAL)?.to_owned()];
    let mut links = 0;
    while let Some(name) = rest.pop() {
        if name == OsStr::new("..") {
            place.pop();
            continue;
        }
        let next = place.join(name);
        let Some(target) = target(&next)? else {
            place = next;
            continue;
        };
        links += 1;
        if links > MOST {
            return Err(Errno::LOOP.into());
        }
        if target.is_absolute() {
            place = PathBuf::from("/");
        }
        rest.extend(names(&target).into_iter().rev());
    }
    Ok(place)
}

/// Where a link leads; `None` if it is none. Looked at once: it may become another one at any time.
fn target(path: &Path) -> io::Result<Option<PathBuf>> {
    let found = open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let stat = fstat(&found)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        return Ok(None);
    }
    if rustix::process::geteuid().is_root() && stat.st_uid != 0 {
        let (path, owner) = (path.display(), stat.st_uid);
        return Err(io::Error::other(format!(
            "{path} is a link that the user {owner} made, and root follows its own links only: put the file itself there, or \
             run `sudo chown -h root {path}` if it leads where it should"
        )));
    }
    let target = readlinkat(&found, "", Vec::new())?;
    Ok(Some(PathBuf::from(OsString::from_vec(target.into_bytes()))))
}

fn names(path: &Path) -> Vec<OsString> {
    let name = |component: Component<'_>| match component {
        Component::Normal(_) | Component::ParentDir => Some(component.as_os_str().to_owned()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    };
    path.components().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::{lchown, symlink};

    use super::*;

    const SOMEBODY: u32 = 65_534;

    #[test]
    fn a_file_is_found_behind_its_links_as_the_system_finds_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::write(at("a/b/file"), "").unwrap();
        symlink("a", at("relative")).unwrap();
        symlink("./relative/b/../b/file", at("chain")).unwrap();
        symlink(at("chain"), at("absolute")).unwrap();
        for name in ["a/b/file", "relative/b/file", "chain", "absolute", "a/b"] {
            assert_eq!(real_path(&at(name)).unwrap(), fs::canonicalize(at(name)).unwrap(), "{name}");
        }
        assert_eq!(real_path(&at("gone")).unwrap_err().kind(), io::ErrorKind::NotFound);
        symlink("loop", at("loop")).unwrap();
        assert_eq!(real_path(&at("loop")).unwrap_err().raw_os_error(), Some(Errno::LOOP.raw_os_error()));
    }

    #[test]
    fn root_is_not_led_elsewhere_by_others() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("real")).unwrap();
        fs::write(at("real/file"), "").unwrap();
        symlink("real", at("theirs")).unwrap();
        lchown(at("theirs"), Some(SOMEBODY), None).unwrap();
        symlink("theirs/file", at("own")).unwrap();
        symlink("real/file", at("link")).unwrap();
        assert!(real_path(&at("link")).is_ok());
        lchown(at("link"), Some(SOMEBODY), None).unwrap();
        for name in ["link", "own"] {
            let said = real_path(&at(name)).unwrap_err().to_string();
            assert!(
                said.contains("is a link that the user 65534 made") && said.contains("chown -h"),
                "{said}"
            );
        }
        assert!(real_path(&at("theirs/file")).is_ok(), "who names a directory knows how it is reached");
    }
}
