# Homebrew formula, not in a tap yet and never run: `url` and `sha256` are those of the release's sdist, and there is no release.
class FtStudio < Formula
  desc "Fine-tune language models on your own machine, from the terminal"
  homepage "https://pypi.org/project/ft-studio/"
  # url "…/ft_studio-0.1.0.tar.gz"    set by the release
  # sha256 "…"                        set by the release
  license "Apache-2.0"

  depends_on "python@3.13"

  on_macos do
    depends_on arch: :arm64
    depends_on macos: :sonoma
  end

  # PyTorch, MLX, tokenizers and pyarrow come as wheels, so pip resolves them inside the pinned set,
  # in place of one `resource` a package built from source.
  def install
    python = Formula["python@3.13"].opt_libexec/"bin/python"
    system python, "-m", "venv", libexec
    system libexec/"bin/python", "-m", "pip", "install", "--constraint", buildpath/"constraints.txt", buildpath
    bin.install_symlink libexec/"bin/ft"
  end

  def caveats
    <<~EOS
      The starter model (about 90 MB) is fetched on first use, or now with:
        ft models pull starter
    EOS
  end

  test do
    (testpath/"train.yml").write <<~YAML
      model: {base: starter}
      data: {train: starter}
    YAML
    system bin/"ft", "validate", testpath/"train.yml"
    assert_match "train", shell_output("#{bin}/ft --help")
  end
end
