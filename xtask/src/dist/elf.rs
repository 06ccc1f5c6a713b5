//! What the archive changes and reads in the header of a program.

use anyhow::{Context, Result, bail};
use object::LittleEndian;
use object::elf::{DT_NEEDED, DT_RPATH, DT_RUNPATH, DT_SONAME, FileHeader64};
use object::read::elf::{Dyn, FileHeader, SectionHeader, Sym};

/// Replaces the path on which `program` looks for its libraries. The new one may not be longer.
///
/// # Errors
/// When the program has no such path, the new one does not fit, or its bytes serve for another name, too.
pub fn set_run_path(program: &mut [u8], new: &str) -> Result<()> {
    let (start, length) = {
        let data: &[u8] = program;
        let header = FileHeader64::<LittleEndian>::parse(data).context("no program for 64-bit Linux")?;
        let sections = header.sections(LittleEndian, data)?;
        let (dynamic, index) = sections.dynamic(LittleEndian, data)?.context("no dynamic section")?;
        let names = sections.section(index)?;
        let strings = sections.strings(LittleEndian, data, index)?;
        let of = |tag| dynamic.iter().find(move |entry| entry.d_tag(LittleEndian) == tag);
        let path = of(DT_RUNPATH).or_else(|| of(DT_RPATH)).context("it has no path for libraries")?;
        let at = path.d_val(LittleEndian);
        let old = strings.get(u32::try_from(at)?).ok().context("its path for libraries is damaged")?;
        let inside = |offset: u64| offset > at && offset <= at + old.len() as u64;
        let named =
            dynamic.iter().filter(|entry| [DT_NEEDED, DT_SONAME].contains(&entry.d_tag(LittleEndian)));
        let symbols = sections.symbols(LittleEndian, data, object::elf::SHT_DYNSYM)?;
        if named.map(|entry| entry.d_val(LittleEndian)).any(inside)
            || symbols.iter().any(|symbol| inside(u64::from(symbol.st_name(LittleEndian))))
        {
            bail!("its path for libraries is part of another name");
        }
        (usize::try_from(names.sh_offset(LittleEndian) + at)?, old.len())
    };
    if new.len() > length {
        bail!("its path for libraries has {length} bytes; {} are needed", new.len());
    }
    let place = program.get_mut(start..start + length).context("its path for libraries is damaged")?;
    place.fill(0);
    place.iter_mut().zip(new.bytes()).for_each(|(to, byte)| *to = byte);
    Ok(())
}

/// The newest version of glibc that `program` names, such as (2, 34).
pub fn newest_glibc(program: &[u8]) -> (u32, u32) {
    const NAME: &[u8] = b"GLIBC_2.";
    let number = |rest: &[u8]| {
        let digits: Vec<u8> = rest.iter().copied().take_while(u8::is_ascii_digit).collect();
        String::from_utf8(digits).ok().and_then(|text| text.parse::<u32>().ok())
    };
    let found = program.windows(NAME.len()).enumerate().filter(|(_, window)| *window == NAME);
    let minor = found.filter_map(|(at, _)| number(program.get(at + NAME.len()..)?)).max();
    (2, minor.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    fn compile(folder: &Path, name: &str, source: &str, flags: &[&str]) {
        let file = folder.join(format!("{name}.cpp"));
        std::fs::write(&file, source).unwrap();
        let status =
            Command::new("c++").current_dir(folder).arg(&file).arg("-o").arg(name).args(flags).status();
        assert!(status.unwrap().success());
    }

    #[test]
    fn a_moved_program_finds_its_library_beside_itself() {
        let place = tempfile::tempdir().unwrap();
        let built = place.path().join("built");
        std::fs::create_dir(&built).unwrap();
        compile(&built, "libthing.so", "extern \"C\" int thing() { return 42; }", &["-shared", "-fPIC"]);
        let run_path = format!("-Wl,-rpath,{}", built.display());
        compile(
            &built,
            "program",
            "extern \"C\" int thing(); int main() { return thing(); }",
            &["-L.", "-lthing", &run_path],
        );
        let mut program = std::fs::read(built.join("program")).unwrap();
        set_run_path(&mut program, "$ORIGIN/../lib").unwrap();
        assert!(newest_glibc(&program) >= (2, 2));
        let moved = place.path().join("moved");
        for folder in ["bin", "lib"] {
            std::fs::create_dir_all(moved.join(folder)).unwrap();
        }
        std::fs::rename(built.join("libthing.so"), moved.join("lib/libthing.so")).unwrap();
        std::fs::copy(built.join("program"), moved.join("bin/program")).unwrap();
        std::fs::write(moved.join("bin/program"), &program).unwrap();
        let status = Command::new(moved.join("bin/program")).env_clear().status().unwrap();
        assert_eq!(status.code(), Some(42));
    }

    #[test]
    fn a_path_that_does_not_fit_and_a_file_that_is_no_program_are_refused() {
        let place = tempfile::tempdir().unwrap();
        compile(place.path(), "program", "int main() {}", &["-Wl,-rpath,/a"]);
        let mut program = std::fs::read(place.path().join("program")).unwrap();
        let before = program.clone();
        let refused = set_run_path(&mut program, "$ORIGIN/../lib").unwrap_err().to_string();
        assert!(refused.contains("has 2 bytes; 14 are needed"), "{refused}");
        assert_eq!(program, before);
        assert!(set_run_path(&mut b"#!/bin/sh\n".to_vec(), "/").is_err());
    }
}
