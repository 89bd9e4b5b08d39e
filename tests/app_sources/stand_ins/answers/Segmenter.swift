import Foundation

typealias Opened = Mvit2Segmenter

/// Writes the mask of a golden picture and what is said of it. Apple's decoder is not here: a picture is of its size.
func use(_ segmenter: Mvit2Segmenter, _ one: Golden.Case) throws {
    guard let png = try one.picture.map(bytes) else { return }
    let (width, height) = (edge(png, 16), edge(png, 20))
    let black = [UInt8](repeating: 0, count: width * height * 3)
    let found = try segmenter.segment(Mvit2.Picture(black, width: width, height: height, channels: 3))
    let folder = URL(fileURLWithPath: CommandLine.arguments[1])
    try Data(found.mask.pixels).write(to: folder.appendingPathComponent("\(one.name).mask"))
    let lines = found.classes.map { "\($0.label)\t\($0.share)\n" }.joined()
    try lines.write(to: folder.appendingPathComponent("\(one.name).classes"), atomically: true, encoding: .utf8)
    let layer = try found.layer()
    precondition(found.colors.count == segmenter.labels.count && layer.count == width * height * 4)
}

/// Big-endian, of the header of a PNG.
private func edge(_ png: [UInt8], _ at: Int) -> Int {
    png[at..<at + 4].reduce(0) { $0 << 8 | Int($1) }
}
